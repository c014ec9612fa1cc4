"""autobatch finds the fastest training settings that are safe on this machine, and freezes them into a file."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from autobatch.export.frozen import load as load
    from autobatch.probe.callback import Callback as Callback

__version__ = "0.1.0"
_PUBLIC = {"load": "autobatch.export.frozen", "Callback": "autobatch.probe.callback"}
"""Public name -> module: imported when first used, so that `import autobatch` costs nothing."""


def __getattr__(name: str) -> object:
    if name == "probe":  # a package that is called
        return importlib.import_module("autobatch.probe")
    if name not in _PUBLIC:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    return getattr(importlib.import_module(_PUBLIC[name]), name)
