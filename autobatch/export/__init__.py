"""Frozen configurations: one file a target format, and the fingerprint check."""
