"""What systemd is told: that we are up, that we still work, that we are about to end. Elsewhere this does nothing."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping

_ADDRESS = "NOTIFY_SOCKET"
_VARIABLES = frozenset({_ADDRESS, "WATCHDOG_PID", "WATCHDOG_USEC"})


def notify(text: str) -> None:
    """Send one message in the form of sd_notify(3), for example `READY=1`."""
    address = os.environ.get(_ADDRESS)
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


def without_notification(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment for a child, which must not speak to systemd in our name."""
    return {name: value for name, value in environment.items() if name not in _VARIABLES}
