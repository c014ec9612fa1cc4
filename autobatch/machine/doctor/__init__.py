"""The examination of a machine: GPU, libraries, host, and what isolation it allows. It changes nothing that lasts."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from autobatch.machine.doctor import devices, host, isolation, libraries, limits
from autobatch.machine.doctor.finding import Finding, Level

__all__ = ["Finding", "Level", "examine"]

_CHECKS: tuple[Callable[[], Iterator[Finding]], ...] = (
    host.machine,
    devices.cards,
    devices.environment,
    devices.tenants,
    libraries.versions,
    libraries.torch_build,
    libraries.bytecode,
    libraries.nvml_binding,
    libraries.bitsandbytes_build,
    host.wsl2,
    limits.groups,
    limits.processors,
    limits.shared_memory,
    limits.ulimits,
    limits.disk,
    isolation.sub_cgroup,
    isolation.killing,
    isolation.oom_score,
)


def examine() -> list[Finding]:
    """Return the findings of every check, in a fixed order; a check that fails is a finding too."""
    return [finding for check in _CHECKS for finding in _findings(check)]


def _findings(check: Callable[[], Iterator[Finding]]) -> list[Finding]:
    found: list[Finding] = []
    try:
        found.extend(check())
    except Exception as error:  # noqa: BLE001 - the doctor must outlive whatever it meets
        said = f"could not be examined: {type(error).__name__}: {error}"
        found.append(Finding(check.__name__, Level.WARNING, said, "Put this line into a bug report."))
    return found
