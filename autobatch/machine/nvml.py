"""NVML through `pynvml` (of nvidia-ml-py), with its error codes as our own errors."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from autobatch.errors import MachineError

P = ParamSpec("P")
R = TypeVar("R")


class GpuUnavailableError(MachineError):
    """There is no NVIDIA driver here, no library to ask it, or no such GPU."""


class NoDriverError(GpuUnavailableError):
    """There is no NVIDIA driver at all: a machine without a GPU, or a container without its GPUs."""


class GpuLostError(MachineError):
    """The GPU has fallen off the bus or needs a reset."""


class GpuUnsupportedError(MachineError):
    """The GPU or its driver does not tell."""


class GpuForbiddenError(MachineError):
    """A user or container without the right asked."""


_KINDS: tuple[tuple[type[MachineError], tuple[str, ...], str], ...] = (
    (
        GpuLostError,
        ("GPU_IS_LOST", "RESET_REQUIRED", "IRQ_ISSUE"),
        "Look at `dmesg` and `nvidia-smi`; reset the GPU or restart the machine.",
    ),
    (
        GpuUnsupportedError,
        ("NOT_SUPPORTED", "FUNCTION_NOT_FOUND", "ARGUMENT_VERSION_MISMATCH", "NO_DATA"),
        "A newer driver may tell.",
    ),
    (GpuForbiddenError, ("NO_PERMISSION",), "Ask as root, or give the container the right to."),
    (
        NoDriverError,
        ("LIBRARY_NOT_FOUND", "DRIVER_NOT_LOADED"),
        "Install the NVIDIA driver; a container needs `--gpus all`, too.",
    ),
    (
        GpuUnavailableError,
        ("LIB_RM_VERSION_MISMATCH",),
        "The driver was updated while it ran: restart the machine.",
    ),
    (GpuUnavailableError, ("NOT_FOUND", "INVALID_ARGUMENT"), "`nvidia-smi -L` lists the GPUs."),
)


@functools.cache
def _initialised(_pid: int) -> Any:  # noqa: ANN401 - pynvml has no types
    try:
        import pynvml
    except ImportError as error:
        what = "The package nvidia-ml-py is not installed."
        raise GpuUnavailableError(what, "pip install nvidia-ml-py") from error
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        raise translated(pynvml, error) from error
    return pynvml


def module() -> Any:  # noqa: ANN401 - pynvml has no types
    """Return pynvml, initialised in this process.

    Raises:
        GpuUnavailableError: there is no driver or no library.

    """
    return _initialised(os.getpid())


def translated(nvml: Any, error: Exception) -> MachineError:  # noqa: ANN401 - pynvml has no types
    """Return our error for one of NVML's, by its code."""
    code = getattr(error, "value", None)
    said = " ".join(str(error).split())
    for kind, names, do in _KINDS:
        if code in {getattr(nvml, f"NVML_ERROR_{name}", None) for name in names}:
            return kind(f"NVML: {said}.", do)
    return MachineError(f"NVML: {said}.", "Check that `nvidia-smi` works here.")


def typed(function: Callable[P, R]) -> Callable[P, R]:
    """Raise our errors where the function lets one of NVML's through."""

    @functools.wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        nvml = module()
        try:
            return function(*args, **kwargs)
        except nvml.NVMLError as error:
            raise translated(nvml, error) from error

    return wrapper
