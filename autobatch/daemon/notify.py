"""What systemd is told: that we are up, that we still work, that we are about to end. Elsewhere this does nothing."""

from __future__ import annotations

import os
import socket


def notify(text: str) -> None:
    """Send one message in the form of sd_notify(3), for example `READY=1`."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
        try:
            channel.connect(address)
            channel.sendall(text.encode())
        except OSError:
            return  # nobody listens any more: no reason to stop working
