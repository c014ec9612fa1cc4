"""The machine itself."""

from __future__ import annotations

import platform
from collections.abc import Iterator

from autobatch import __version__
from autobatch.machine import fingerprint, memory, processors
from autobatch.machine.doctor.finding import Finding, Level
from autobatch.units import format_bytes


def machine() -> Iterator[Finding]:
    """Say what the machine is."""
    total = format_bytes(memory.physical().bytes)
    system = f"Linux {platform.release()}, Python {platform.python_version()}, autobatch {__version__}"
    yield Finding("machine", Level.OK, f"{system}; {processors.name()}, {total}")


def wsl2(kernel: str | None = None) -> Iterator[Finding]:
    """Warn of what is different under Windows' Subsystem for Linux."""
    if not fingerprint.is_wsl2(kernel or platform.release()):
        return
    what = "WSL2: when the card is full, the driver may move memory to the host instead of failing, and steps get slow."
    do = "In the NVIDIA Control Panel set 'CUDA - Sysmem Fallback Policy' to 'Prefer No Sysmem Fallback'."
    yield Finding("WSL2", Level.WARNING, what, do)
    what = "WSL2 gives Linux half of the memory unless told otherwise, and pinned memory is scarce."
    yield Finding("WSL2", Level.NOTE, what, "Set memory= under [wsl2] in %UserProfile%\\.wslconfig.")
