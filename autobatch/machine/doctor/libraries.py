"""The libraries and their traps."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from autobatch.machine import gpus
from autobatch.machine.doctor import software
from autobatch.machine.doctor.finding import Finding, Level

_AREA = "libraries"
_OPTIONAL = ("flash-attn", "liger-kernel", "triton", "pyarrow", "optuna-dashboard")


def versions() -> Iterator[Finding]:
    """Say which of our requirements are missing or too old, and which optional libraries are there."""
    from packaging.requirements import Requirement

    try:
        texts = importlib.metadata.requires("autobatch") or []
    except importlib.metadata.PackageNotFoundError:
        what = "autobatch runs from its source folder and is not installed: what it needs is not checked."
        yield Finding(_AREA, Level.NOTE, what, "pip install . in that folder, or `make install`.")
        texts = ["torch", "transformers", "accelerate", "peft", "bitsandbytes", "optuna", "nvidia-ml-py", "sqlalchemy"]
    wanted = [Requirement(text) for text in texts]
    here = [need for need in wanted if not need.marker or need.marker.evaluate({"extra": ""})]
    yield from (finding for need in here if (finding := _unmet(need.name, str(need.specifier))))
    names = [need.name for need in here] + list(_OPTIONAL)
    listed = ", ".join(f"{name} {found}" for name in names if (found := software.version(name)))
    yield Finding(_AREA, Level.OK, listed)


def torch_build() -> Iterator[Finding]:
    """Say whether torch can use the GPUs."""
    cuda = software.torch_cuda()
    if not software.version("torch"):
        return
    if cuda:
        yield Finding(_AREA, Level.OK, f"torch is built for CUDA {cuda[0]}.{cuda[1]}")
    elif gpus.list_gpus():
        what = "There is a GPU, and the installed torch is a build for the CPU alone."
        do = "pip install --force-reinstall torch (Linux gets a CUDA build; the index for CPUs must not be set)."
        yield Finding(_AREA, Level.PROBLEM, what, do)
    else:
        yield Finding(_AREA, Level.OK, "torch is built for the CPU, as this machine is")


def bytecode(place: Path | None = None, *, written: bool = not sys.dont_write_bytecode) -> Iterator[Finding]:
    """Say whether torch is compiled anew at every start: on an H100 host all imports took 24 s so, 10 s with bytecode.

    Args:
        place: folder of the package; looked up where not given.
        written: whether Python keeps what it compiles.

    """
    place = place or software.folder("torch")
    if place is None or Path(importlib.util.cache_from_source(str(place / "__init__.py"))).exists():
        return
    if written and os.access(place, os.W_OK):
        return  # the first start keeps it
    what = "torch has no bytecode, and none may be kept: every start of a search compiles the libraries anew."
    yield Finding(_AREA, Level.WARNING, what, f"python -m compileall -q -j 0 {place.parent} (once, as its owner)")


def nvml_binding() -> Iterator[Finding]:
    """Tell the unofficial `pynvml` package from NVIDIA's nvidia-ml-py: both install a module of that name."""
    if software.folder("pynvml") is None:
        return
    what = "The module pynvml comes from the unofficial package `pynvml`, which hides NVIDIA's own."
    do = "pip uninstall -y pynvml && pip install --force-reinstall nvidia-ml-py"
    yield Finding(_AREA, Level.WARNING, what, do)


def bitsandbytes_build(
    place: Path | None = None,
    cuda: tuple[int, int] | None = None,
    variables: Mapping[str, str] = os.environ,
) -> Iterator[Finding]:
    """Say whether bitsandbytes has a library for torch's CUDA; QLoRA and 8-bit optimizers need it.

    Args:
        place: folder of the package; looked up where not given.
        cuda: version of torch's CUDA; looked up where not given.
        variables: the environment.

    """
    place, cuda = place or software.folder("bitsandbytes"), cuda or software.torch_cuda()
    if place is None or cuda is None:
        return
    override = variables.get("BNB_CUDA_VERSION")
    if override:
        what = f"BNB_CUDA_VERSION={override} makes bitsandbytes load the library of that CUDA version."
        yield Finding(_AREA, Level.WARNING, what, "unset BNB_CUDA_VERSION")
    built = sorted(_cuda_versions(place))
    if any(major == cuda[0] for major, _ in built):
        yield Finding(_AREA, Level.OK, f"bitsandbytes has a library for CUDA {cuda[0]}")
        return
    listed = ", ".join(f"{major}.{minor}" for major, minor in built) or "none"
    what = f"bitsandbytes has no library for CUDA {cuda[0]}.{cuda[1]} (it has: {listed})."
    do = "pip install --upgrade bitsandbytes; until then leave QLoRA and 8-bit optimizers out."
    yield Finding(_AREA, Level.PROBLEM, what, do)


def _unmet(name: str, specifier: str) -> Finding | None:
    from packaging.specifiers import SpecifierSet

    found = software.version(name)
    if found is None:
        return Finding(_AREA, Level.PROBLEM, f"{name} is not installed.", f"pip install '{name}{specifier}'")
    if SpecifierSet(specifier).contains(found, prereleases=True):
        return None
    what = f"{name} {found} is not what autobatch needs ({specifier})."
    return Finding(_AREA, Level.PROBLEM, what, f"pip install --upgrade '{name}{specifier}'")


def _cuda_versions(place: Path) -> Iterator[tuple[int, int]]:
    for path in place.glob("libbitsandbytes_cuda*"):
        if match := re.match(r"libbitsandbytes_cuda(\d{2})(\d)", path.name):
            yield int(match[1]), int(match[2])
