"""The workload: presets, data and its lengths."""
