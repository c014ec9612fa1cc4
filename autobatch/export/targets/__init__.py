"""Target formats of an export: one module each, one entry each in `_MODULES`."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from autobatch.export.chosen import Chosen
from autobatch.settings import PRECISION

_MODULES = {
    "hf": "transformers' HfArgumentParser (the default)",
    "trl": "TRL: SFTConfig and ModelConfig",
    "llamafactory": "LLaMA-Factory",
    "axolotl": "axolotl",
    "accelerate": "accelerate launch --config_file",
    "deepspeed": "DeepSpeed's JSON",
    "env": "environment variables, for a shell",
}
NAMES = tuple(_MODULES)
MIXED = frozenset({"bf16", "fp16"})
"""Precisions that a launcher's file can name; to it, fp32 and TF32 are the same."""


@dataclass(frozen=True)
class Target:
    """One tool that loads an export."""

    name: str
    settings: Callable[[Chosen], dict[str, Any]]
    """What is written, by the tool's own key names, in order."""
    syntax: Literal["yaml", "json", "env"] = "yaml"
    elsewhere: Callable[[Chosen], Mapping[str, Any]] = lambda chosen: chosen.model_settings
    """What the tool's file cannot say, so that a person sets it in another place."""
    aliases: Mapping[str, str] = field(default_factory=dict)
    """Older or other spelling -> key, which replaces it where a file is merged into."""
    rivals: Mapping[str, str] = field(default_factory=dict)
    """Key that works against the tuned ones -> why: said where a file is merged into, and left."""


def unsaid(chosen: Chosen, *said: str) -> dict[str, Any]:
    """Return the settings that a launcher's file leaves to the script, and the precision unless the file names it."""
    named = {*said, PRECISION} if chosen.configuration[PRECISION] in MIXED else {*said}
    return {name: value for name, value in chosen.taken.items() if name not in named}


def get(name: str) -> Target:
    """Return a target by name.

    Raises:
        KeyError: the name is none of `NAMES`.

    """
    if name not in _MODULES:
        raise KeyError(name)
    target: Target = importlib.import_module(f"autobatch.export.targets.{name}").TARGET
    return target
