"""autobatch finds the fastest training settings that are safe on this machine, and freezes them into a file."""

__version__ = "0.1.0"
