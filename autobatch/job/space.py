"""From a workload, a machine and the wishes of a person to the space that is searched."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from autobatch.errors import UsageError
from autobatch.job import together
from autobatch.settings import (
    ACCUMULATION,
    ALLOCATOR,
    CHECKPOINTING,
    EVAL_BATCH,
    LARGEST_BATCH,
    METHOD,
    MICRO_BATCH,
    PRECISION,
    QUANTIZATION,
    SETTINGS,
    WORKERS,
    Scalar,
    SearchSpace,
    Setting,
    divisors,
)
from autobatch.workload.spec import Workload

LARGEST_MICRO_BATCH = 1024
_FREE_LADDER = tuple(sorted({b * 2**k for b in (1, 3) for k in range(11) if b * 2**k <= LARGEST_MICRO_BATCH}))
_DIGITS = 9
"""Digits of a number that is read at all."""
_TRUTH = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
_PREFERRED = ("bf16", "fp16", "tf32", "fp32")


@dataclass(frozen=True)
class Wishes:
    """What a person said of the space: `--fix`, `--search` and `--space FILE`."""

    fix: Mapping[str, Scalar] = field(default_factory=dict)
    search: Mapping[str, tuple[Scalar, ...]] = field(default_factory=dict)
    """Settings to search; an empty tuple means their usual values."""
    usual: frozenset[str] = frozenset()
    """Those of them that were given their usual values: nobody named these."""


def known_setting(name: str) -> Setting:
    """Return the setting of that name.

    Raises:
        UsageError: there is none; the nearest names are given.

    """
    if name in SETTINGS:
        return SETTINGS[name]
    near = difflib.get_close_matches(name, SETTINGS, n=3, cutoff=0.4) or list(SETTINGS)[:3]
    message = f"There is no setting {name!r}."
    raise UsageError(message, f"Did you mean {', '.join(near)}?")


def parse_value(name: str, text: Scalar) -> Scalar:
    """Read one value of a setting from text (or from YAML, where it has a type already).

    Raises:
        UsageError: the setting does not take that value.

    """
    setting = known_setting(name)
    value = _typed(setting.default, text)
    if value is None or not _takes(setting, value):
        raise UsageError(f"{name} cannot be {text!r:.60}.", _instead(setting, str(text)))
    return value


def _typed(default: Scalar, text: Scalar) -> Scalar | None:
    if isinstance(default, bool):
        return text if isinstance(text, bool) else _TRUTH.get(str(text).lower())
    if isinstance(default, int):
        written = str(text)
        return int(written) if written.isdecimal() and len(written) <= _DIGITS else None
    return str(text)


def _takes(setting: Setting, value: Scalar) -> bool:
    if isinstance(value, str):
        return setting.name == ALLOCATOR or value in (*setting.choices, *setting.accepted)
    return isinstance(value, bool) or (0 if setting.name == WORKERS else 1) <= value <= LARGEST_BATCH


def _instead(setting: Setting, text: str) -> str:
    near = difflib.get_close_matches(text, setting.accepted, n=1)
    choices = ", ".join(str(choice) for choice in setting.choices) or "a whole number from 1"
    return f"Did you mean {near[0]}?" if near else f"It takes {choices}."


def wishes(fix: Iterable[str], search: Iterable[str], file: Mapping[str, object] | None) -> Wishes:
    """Put together `--fix KEY=VALUE`, `--search KEY[=V,V]` and a space file's `fix:` and `search:` maps.

    Raises:
        UsageError: a name, value or form that is not known, or a setting both fixed and searched by options.

    """
    fixed: dict[str, Scalar] = {}
    searched: dict[str, tuple[Scalar, ...]] = {}
    for section, name, values in _sections(file or {}):
        if section == "fix":
            fixed |= _fixed(name, values)
        else:
            searched |= _searched(name, values)
    fixed_here = _fixed_by(fix)
    searched_here = _searched_by(search)
    if both := fixed_here.keys() & searched_here.keys():
        message = f"{', '.join(sorted(both))} is fixed and searched in one command."
        beside = " (method=qlora fixes quantization, too)" if QUANTIZATION in both else ""
        raise UsageError(message, f"Leave out --fix or --search of it{beside}.")
    fixed = {k: v for k, v in fixed.items() if k not in searched_here}
    searched = {k: v for k, v in searched.items() if k not in fixed_here}
    return Wishes(fixed | fixed_here, searched | searched_here)


def _fixed_by(options: Iterable[str]) -> dict[str, Scalar]:
    fixed: dict[str, Scalar] = {}
    options_of: dict[str, str] = {}
    for item in options:
        name, found, text = item.partition("=")
        if not found:
            message = f"--fix {item!r} has no value."
            raise UsageError(message, "Write --fix KEY=VALUE, for example --fix precision=bf16.")
        new = _fixed(name, [text])
        # the same option once more goes before the first, as options do
        for twice in (key for key in new if options_of.get(key, _plain(name)) != _plain(name)):
            if fixed[twice] != new[twice]:
                message = f"{twice} is fixed at {fixed[twice]} and at {new[twice]}."
                raise UsageError(message, "Fix it at one value: method=qlora is method=lora with quantization=nf4.")
        fixed |= new
        options_of |= dict.fromkeys(new, _plain(name))
    return fixed


def _searched_by(options: Iterable[str]) -> dict[str, tuple[Scalar, ...]]:
    searched: dict[str, tuple[Scalar, ...]] = {}
    for item in options:
        name, found, text = item.partition("=")
        searched |= _searched(name, text.split(",") if found else [])
    return searched


def _plain(name: str) -> str:
    return name.strip().lstrip("-").replace("-", "_")


def _fixed(name: str, values: Sequence[Scalar]) -> dict[str, Scalar]:
    plain = _free_to_set(name)
    if plain == METHOD and list(values) == ["qlora"]:
        return {METHOD: "lora", QUANTIZATION: "nf4"}
    if len(values) != 1:
        message = f"{plain} is fixed at {len(values)} values."
        raise UsageError(message, "Fix it at one value, or put it under search.")
    return {plain: parse_value(plain, values[0])}


def _searched(name: str, values: Sequence[Scalar]) -> dict[str, tuple[Scalar, ...]]:
    plain = _free_to_set(name)
    return {plain: tuple(parse_value(plain, value) for value in values)}


def _free_to_set(name: str) -> str:
    plain = known_setting(_plain(name)).name
    if plain == ACCUMULATION:
        message = "gradient_accumulation_steps follows from the effective batch and the micro-batch."
        raise UsageError(message, f"Set --effective-batch, or --fix {MICRO_BATCH}=N, instead.")
    return plain


def _sections(file: Mapping[str, object]) -> Iterable[tuple[str, str, list[Scalar]]]:
    for section, content in file.items():
        if section not in {"fix", "search"} or not isinstance(content, Mapping):
            message = f"The space file has {section!r}, which is no map of settings under 'fix' or 'search'."
            raise UsageError(message, "Write fix: {KEY: VALUE} and search: {KEY: [VALUE, VALUE]}.")
        for name, value in content.items():
            yield section, str(name), list(value) if isinstance(value, list) else [value]


def build_space(
    workload: Workload,
    precisions: tuple[str, ...],
    cores: int,
    wish: Wishes,
    devices: int = 1,
) -> SearchSpace:
    """Build the space: sensible values of every setting searched by default, overlaid by the wishes.

    Args:
        workload: gives the method, the quantisation and the effective batch.
        precisions: what the device can compute in.
        cores: CPU cores, a ceiling for DataLoader workers.
        wish: fixed and searched settings.
        devices: data-parallel devices of the full run.

    Raises:
        UsageError: the effective batch cannot be divided, or the settings do not go together.

    """
    micro = _micro_batches(workload.effective_batch, devices, wish)
    usual: dict[str, tuple[Scalar, ...]] = {
        MICRO_BATCH: micro,
        PRECISION: _precisions(workload, precisions),
        CHECKPOINTING: (False, True),
        WORKERS: tuple(w for w in SETTINGS[WORKERS].choices if int(w) <= cores),
        EVAL_BATCH: SETTINGS[EVAL_BATCH].choices,
    }
    searched = {k: v for k, v in usual.items() if k not in wish.fix}
    for name, values in wish.search.items():
        if name != MICRO_BATCH:
            searched[name] = values or usual.get(name, known_setting(name).choices)
    fixed: dict[str, Scalar] = {METHOD: workload.method, QUANTIZATION: workload.quantization, **wish.fix}
    fixed = {k: v for k, v in fixed.items() if k not in searched}
    space = SearchSpace(fixed, searched, workload.effective_batch, devices)
    together.check(space, wish)
    return space


def _precisions(workload: Workload, available: tuple[str, ...]) -> tuple[Scalar, ...]:
    # fp16 overflows in T5's and mT5's feed-forward: their published fp16 runs end in NaN
    overflows = workload.model.config.get("model_type") in {"t5", "mt5"}
    return tuple(p for p in _PREFERRED if p in available and not (p == "fp16" and overflows and len(available) > 1))


def _micro_batches(effective: int | None, devices: int, wish: Wishes) -> tuple[Scalar, ...]:
    asked = tuple(wish.search.get(MICRO_BATCH, ())) or ((wish.fix[MICRO_BATCH],) if MICRO_BATCH in wish.fix else ())
    if effective is None:
        return asked or _FREE_LADDER
    if effective < 1 or effective % devices:
        message = f"An effective batch of {effective} cannot be split over {devices} device(s)."
        raise UsageError(message, f"Choose a positive multiple of {devices}.")
    possible = tuple(b for b in divisors(effective // devices) if b <= LARGEST_MICRO_BATCH)
    wrong = [b for b in asked if b not in possible]
    if wrong:
        message = f"A micro-batch of {wrong[0]} on {devices} device(s) does not divide the effective batch {effective}."
        raise UsageError(message, f"Choose one of {', '.join(map(str, possible))}, or another --effective-batch.")
    return asked or possible
