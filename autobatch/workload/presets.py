"""Presets: the models and experiments that work with no hub and no weights, one YAML file each."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from autobatch.errors import UsageError
from autobatch.safe_files import read_text, read_yaml
from autobatch.workload import lengths
from autobatch.workload.check import check
from autobatch.workload.positions import clamp
from autobatch.workload.spec import Generation, Lora, Model, Workload

FOLDER = Path(__file__).resolve().parent.parent / "configs" / "models"
"""`configs/` is package data: a link in a checkout, a folder in an installed wheel."""
_CLOSE = 0.5
_AS_CLOSE = 0.1
"""Likeness below the nearest's at which another name is still worth saying."""


def names() -> list[str]:
    """Return the names of the presets, sorted."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def load(name: str) -> Workload:
    """Return the preset of a name: case, underscores and punctuation do not matter, and its hub id is a name too.

    Raises:
        UsageError: there is no such preset; the nearest are named.

    """
    return read(_file(name))


def source(name: str) -> str:
    """Return the YAML text of a preset, to start one's own from.

    Raises:
        UsageError: there is no such preset.

    """
    return read_text(_file(name))


def find(name: str) -> str | None:
    """Return the name of the preset meant, or None."""
    known = _spellings()
    return known.get(_squeezed(name))


def nearest(name: str) -> str:
    """Return the presets that a name begins, or those most like it, in words; empty if there are none."""
    known, said = _spellings(), _squeezed(name)
    begun = dict.fromkeys(known[spelling] for spelling in known if said and spelling.startswith(said))
    if begun:
        return " or ".join(begun)
    close = difflib.get_close_matches(said, known, n=3, cutoff=_CLOSE)
    likeness = [difflib.SequenceMatcher(None, spelling, said).ratio() for spelling in close]
    best = [spelling for spelling, ratio in zip(close, likeness, strict=True) if ratio > likeness[0] - _AS_CLOSE]
    return " or ".join(dict.fromkeys(known[spelling] for spelling in best))


def read(path: Path) -> Workload:
    """Return the workload that a YAML file describes: a preset, or a person's own in the same form.

    Raises:
        UsageError: it cannot be read, or it describes no workload.

    """
    data = _merged(path)
    try:
        workload = _workload(path.stem, data)
        check(workload)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        said = f"lacks {error}" if isinstance(error, KeyError) else f"is no workload: {error}"
        message = f"{path.name} {said}."
        raise UsageError(message, "Write it as the presets are: `autobatch models NAME` prints one.") from error
    return workload


def _file(name: str) -> Path:
    found = find(name)
    if found is None:
        near = nearest(name)
        what = f"There is no model preset {name!r}."
        raise UsageError(what, f"Did you mean {near}?" if near else "`autobatch models` lists them.")
    return FOLDER / f"{found}.yaml"


def _squeezed(name: str) -> str:
    # a slash tells a hub id or a path from a name
    return re.sub(r"[^a-z0-9/]", "", name.lower())


@cache
def _spellings() -> dict[str, str]:
    """Every spelling of every preset; a hub id means the preset that introduces it."""
    known = {_squeezed(name): name for name in names()}
    for name in names():
        hub_id = read_yaml(FOLDER / f"{name}.yaml").get("model", {}).get("hub_id")
        for spelling in (hub_id, hub_id.rpartition("/")[2]) if hub_id else ():
            known.setdefault(_squeezed(spelling), name)
    return known


def _merged(path: Path) -> dict[str, Any]:
    """Return the file over the preset it names as its `base`; sections are merged key by key."""
    data = read_yaml(path)
    base = data.pop("base", None)
    if base is None:
        return data
    if find(str(base)) in (None, path.stem if path.parent == FOLDER else None):
        message = f"{path.name} builds on {base!r}, which is no other preset."
        raise UsageError(message, "`autobatch models` lists the presets.")
    merged = _merged(FOLDER / f"{find(str(base))}.yaml")
    for key, value in data.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = {**merged[key], **value} if both else value
    return merged


def _workload(name: str, data: dict[str, Any]) -> Workload:
    model = Model(name=name, **data.pop("model"))
    source, target, notes = clamp(model, data.pop("max_source_length"), data.pop("max_target_length", None))
    generation = data.pop("generation", None)
    adapter = data.pop("lora", {})
    adapter |= {name: tuple(value) for name, value in adapter.items() if isinstance(value, list)}
    return Workload(
        model=model,
        lora=Lora(**adapter),
        lengths=lengths.assumed(data.pop("lengths"), source, target),
        max_source_length=source,
        max_target_length=target,
        generation=Generation(**generation) if generation else None,
        notes=(*notes, *data.pop("notes", ())),
        **data,
    )
