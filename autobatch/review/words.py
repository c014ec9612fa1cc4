"""Settings, trials and figures in words and units that a person reads."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any

from autobatch.settings import (
    ACCUMULATION,
    ALLOCATOR,
    ARM_KEYS,
    CHECKPOINTING,
    COMPILE,
    EVAL_BATCH,
    EXPANDABLE,
    LIGER,
    MICRO_BATCH,
    OF_TRAINING,
    OPTIM,
    PRECISION,
    QUANTIZATION,
    SETTINGS,
    WORKERS,
    Scalar,
)

_SWITCHES = {CHECKPOINTING: "gradient checkpointing", LIGER: "Liger kernels", COMPILE: "torch.compile"}


def clean(text: object) -> str:
    """Return text safe for a terminal: control characters but newline and tab become a replacement mark."""
    return "".join(c if c in "\n\t" or unicodedata.category(c) != "Cc" else "\ufffd" for c in str(text))


def one_line(text: object) -> str:
    """Return text as one line, safe for a terminal."""
    return " ".join(clean(text).split())


def number(value: float | None, digits: int = 3) -> str:
    """Write a figure with some significant digits and thousands separators; `-` for none."""
    if value is None:
        return "-"
    if abs(value) >= 10 ** (digits - 1):
        return f"{value:,.0f}"
    return f"{value:#.{digits}g}" if value else "0"


def count(many: int, thing: str) -> str:
    """Write how many of a thing there are: `1 probe`, `1,200 probes`."""
    return f"{many:,} {thing}" if many == 1 else f"{many:,} {thing}s"


def percent(fraction: float | None, digits: int = 0) -> str:
    """Write a fraction as a percentage; `-` for none."""
    return "-" if fraction is None else f"{100 * fraction:.{digits}f} %"


def setting(name: str, value: Scalar) -> str:
    """Say one setting in a few words."""
    if name in _SWITCHES:
        return _SWITCHES[name] if value else f"no {_SWITCHES[name]}"
    if name == QUANTIZATION:
        return "unquantised" if value == "none" else str(value)
    if name == WORKERS:
        return count(int(value), "worker")
    if isinstance(value, bool):
        return f"{name}={str(value).lower()}"
    return str(value) if name in ARM_KEYS else f"{name}={value}"


def arm(settings: Mapping[str, Scalar], shown: Iterable[str] = ARM_KEYS) -> str:
    """Say the device settings among `shown` that are given, without those that are off."""
    said = [(name, settings[name]) for name in shown if name in settings]
    words = [setting(name, value) for name, value in said if value not in (False, "", "none") or len(said) == 1]
    return ", ".join(words) or "plain"


def configuration(settings: Mapping[str, Scalar], *, brief: bool = False) -> str:
    """Say a configuration: batch, precision and what is not at its default.

    Unless `brief`, its optimizer and eval batch, and the allocator that every card is given.
    """
    words = []
    if MICRO_BATCH in settings:
        times = "" if brief else "accumulation "
        words.append(f"micro-batch {settings[MICRO_BATCH]} x {times}{settings.get(ACCUMULATION, 1)}")
    always = {PRECISION} if brief else {PRECISION, OPTIM}
    usual = {(name, SETTINGS[name].default) for name in ARM_KEYS if name not in always}
    usual |= {(ALLOCATOR, EXPANDABLE)} if brief else set()
    said = ((name, settings[name]) for name in ARM_KEYS if name in settings)
    words += [setting(*one) for one in said if one not in usual]
    words += [setting(WORKERS, settings[WORKERS])] if WORKERS in settings else []
    if EVAL_BATCH in settings and not brief:
        words.append(f"eval batch {settings[EVAL_BATCH]}")
    return ", ".join(words)


def used_by_inference(settings: Mapping[str, Scalar]) -> dict[str, Scalar]:
    """Leave out the settings that concern training alone."""
    return {name: value for name, value in settings.items() if name not in OF_TRAINING}


def varying(configurations: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """Name the device settings that are not the same in all configurations, in their usual order."""
    seen = list(configurations)
    return tuple(name for name in ARM_KEYS if len({repr(settings.get(name)) for settings in seen}) > 1)
