"""The parent of probes: preloaded process, cgroup, watchdog, kill, classify."""
