"""The GPUs: driver, cards, what hides them, and who else is on them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from autobatch.errors import MachineError
from autobatch.machine import gpus
from autobatch.machine.cgroups import ROOT
from autobatch.machine.doctor import software
from autobatch.machine.doctor.finding import Finding, Level
from autobatch.machine.gpus import Device, Gpu, GpuProcess, NoDriverError
from autobatch.units import format_bytes

_AREA = "GPU"
_NVIDIA = "0x10de"
"""PCI vendor."""
_DISPLAY_CLASSES = ("0x0300", "0x0302")
"""PCI classes of VGA and 3D controllers."""
_OLDEST_DRIVER = {11: (450, 80), 12: (525, 60), 13: (580, 65)}
"""By CUDA's major version, the first Linux driver that runs it."""
_OLDEST_CAPABILITY = {12: (5, 0), 13: (7, 5)}
"""CUDA 13 dropped Maxwell, Pascal and Volta."""
_TAKEN = 0.05
"""Share of a card that others may hold without being in the way."""


def cards() -> Iterator[Finding]:
    """Say which driver and GPUs there are, and what they cannot do."""
    try:
        found = gpus.list_gpus()
        driver = gpus.driver_version()
    except NoDriverError:
        yield from without_driver()
        return
    except MachineError as error:
        yield Finding(_AREA, Level.PROBLEM, error.what, error.do)
        return
    yield from _driver(driver)
    if not found:
        yield Finding(_AREA, Level.PROBLEM, "The driver is there, and no GPU is to be seen.", "See `nvidia-smi -L`.")
    for gpu in found:
        yield from _card(gpu)
    yield from order(found)


def order(found: Sequence[Gpu], variables: Mapping[str, str] = os.environ) -> Iterator[Finding]:
    """Warn where CUDA may number the cards otherwise than shown here."""
    if len({gpu.name for gpu in found}) > 1 and variables.get("CUDA_DEVICE_ORDER") != "PCI_BUS_ID":
        what = "CUDA numbers unlike cards by speed, and here they are numbered by bus: cuda:N may be another one."
        yield Finding(_AREA, Level.WARNING, what, "export CUDA_DEVICE_ORDER=PCI_BUS_ID")


def without_driver(root: Path = ROOT) -> Iterator[Finding]:
    """Say whether there is a card that a driver is missing for."""
    bus = root / "sys" / "bus" / "pci" / "devices"
    if (root / "dev" / "dxg").exists():
        what = "WSL2 passes a GPU through, and no NVIDIA driver answers."
        yield Finding(_AREA, Level.PROBLEM, what, "Install the NVIDIA driver in Windows, and none inside WSL2.")
    elif any(_is_nvidia(folder) for folder in (bus.iterdir() if bus.is_dir() else ())):
        what = "An NVIDIA card is on the bus, and no driver answers."
        do = "Install or load the NVIDIA driver; in a container, start it with `--gpus all`."
        yield Finding(_AREA, Level.PROBLEM, what, do)
    else:
        yield Finding(_AREA, Level.NOTE, "No NVIDIA driver: probes run on the CPU.", "")


def environment(variables: Mapping[str, str] = os.environ) -> Iterator[Finding]:
    """Say which variables hide GPUs or change how CUDA allocates."""
    visible = variables.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        hidden = visible.strip() in {"", "-1"}
        what = f"CUDA_VISIBLE_DEVICES={visible}" + (" hides every GPU." if hidden else " chooses the GPUs.")
        do = "unset CUDA_VISIBLE_DEVICES" if hidden else ""
        yield Finding(_AREA, Level.WARNING if hidden else Level.NOTE, what, do)
    for name in ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF"):
        if variables.get(name):
            what = f"{name}={variables[name]} is set; each probe sets its own."
            yield Finding(_AREA, Level.NOTE, what, "Search pytorch_alloc_conf instead.")
    for name in ("PYTORCH_NO_CUDA_MEMORY_CACHING", "CUDA_LAUNCH_BLOCKING"):
        if variables.get(name, "0") != "0":
            what = f"{name}={variables[name]} slows every step down: measurements would be of that."
            yield Finding(_AREA, Level.WARNING, what, f"unset {name}")


def tenants() -> Iterator[Finding]:
    """Say who else is on the cards."""
    for gpu in gpus.list_gpus():
        yield from _tenants(gpus.open_device(gpu.index))


def _driver(version: str) -> Iterator[Finding]:
    cuda = software.torch_cuda()
    oldest = _OLDEST_DRIVER.get(cuda[0]) if cuda else None
    if cuda and oldest and _numbers(version) < oldest:
        what = f"The driver {version} is too old for this torch's CUDA {cuda[0]}.{cuda[1]}."
        do = f"Update the driver to {oldest[0]} or later, or install torch for an older CUDA."
        yield Finding(_AREA, Level.PROBLEM, what, do)
    else:
        yield Finding(_AREA, Level.OK, f"driver {version}")


def _card(gpu: Gpu) -> Iterator[Finding]:
    major, minor = gpu.capability
    what = f"cuda:{gpu.index} {gpu.name}, {format_bytes(gpu.total_bytes)}, capability {major}.{minor}, {gpu.uuid}"
    yield Finding(_AREA, Level.OK, what)
    cuda = software.torch_cuda()
    if cuda and gpu.capability < _OLDEST_CAPABILITY.get(cuda[0], (0, 0)):
        what = f"This torch is built for CUDA {cuda[0]}, which does not run on capability {major}.{minor}."
        do = "Install torch for CUDA 12: --index-url of its cu126 builds."
        yield Finding(_AREA, Level.PROBLEM, what, do)
    if gpu.capability < (8, 0):
        what = f"cuda:{gpu.index} computes neither bf16 nor TF32: the search tries fp32 and fp16."
        yield Finding(_AREA, Level.NOTE, what, "Mind that fp16 overflows in T5 and mT5.")


def _tenants(device: Device) -> Iterator[Finding]:
    gpu, processes, used = device.gpu, device.processes(), device.memory_used_bytes()
    if processes:
        names = ", ".join(_named(process) for process in processes)
        what = f"cuda:{gpu.index} is used by {names}: {format_bytes(used)} of {format_bytes(gpu.total_bytes)}."
        do = "Wait for them, or end them: what they hold is missing, and they disturb the timing."
        yield Finding(_AREA, Level.WARNING, what, do)
    elif used > _TAKEN * gpu.total_bytes:
        what = f"cuda:{gpu.index}: {format_bytes(used)} are taken, by processes that cannot be seen from here."
        yield Finding(_AREA, Level.WARNING, what, "Look with `nvidia-smi` on the host, outside the container.")
    else:
        yield Finding(_AREA, Level.OK, f"cuda:{gpu.index}: nobody else is on it")


def _named(process: GpuProcess) -> str:
    try:
        name = Path(f"/proc/{process.pid}/comm").read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        name = "a process outside this container"
    size = f", {format_bytes(process.used_bytes)}" if process.used_bytes else ""
    return f"{name} (pid {process.pid}{size})"


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", version)[:2]))


def _is_nvidia(folder: Path) -> bool:
    try:
        vendor = (folder / "vendor").read_text(encoding="ascii").strip()
        kind = (folder / "class").read_text(encoding="ascii").strip()
    except OSError:
        return False
    return vendor == _NVIDIA and kind.startswith(_DISPLAY_CLASSES)
