"""The daemon: queue, GPU leases, supervision."""
