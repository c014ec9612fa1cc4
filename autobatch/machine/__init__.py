"""The machine: GPU, memory limits, fingerprint."""
