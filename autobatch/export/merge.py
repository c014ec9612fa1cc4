"""`--into`: lays the tuned keys into a YAML file of the user's, and touches no other character of it.

Values are replaced where the parser says they stand. Writing the whole document anew, as round-trip libraries do,
would move indentation and quotes that are no concern of ours. The tools read their keys at the top of the file, so a
section inside it, such as `deepspeed:`, is another program's.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from autobatch.arguments import without_workers
from autobatch.errors import UsageError
from autobatch.export import document, remarks
from autobatch.export.document import Document, Entry

_NOTHING: Mapping[str, str] = MappingProxyType({})
_Edit = tuple[int, int, str]
"""First character, the one after the last, and what stands there afterwards."""


@dataclass(frozen=True)
class Merged:
    """A user's file with the tuned keys laid in."""

    text: str
    diff: str
    """Unified; empty where nothing changes."""
    remarks: tuple[str, ...]
    """What a person should know: spellings that were replaced, keys that work against the tuned ones, misspelt ones."""


@dataclass
class _Plan:
    """What is to be done to a document."""

    edits: list[_Edit] = field(default_factory=list)
    changed: list[Entry] = field(default_factory=list)
    """The entries that the edits are of."""
    missing: dict[str, Any] = field(default_factory=dict)
    last: Entry | None = None
    """The last entry that holds a tuned key."""
    remarks: list[str] = field(default_factory=list)


def merge(
    text: str,
    settings: Mapping[str, Any],
    aliases: Mapping[str, str],
    name: str,
    rivals: Mapping[str, str] = _NOTHING,
) -> Merged:
    """Lay settings into the top-level mapping of YAML text.

    Args:
        text: of the user's file.
        settings: the tuned keys.
        aliases: another spelling -> key, which replaces it.
        name: of the file, for messages.
        rivals: key that works against the tuned ones -> why; it is said and left.

    Raises:
        UsageError: it is no YAML mapping of plain lines, or an alias ties a value to be changed to another.

    """
    found = document.read(text, name)
    plan = _Plan()
    for key, value in settings.items():
        _place(found, plan, key, value, [old for old, new in aliases.items() if new == key and old not in settings])
    for key, value in without_workers(settings).items():
        _reset(found, plan, key, value)
    _refuse_tied(plan, name)
    merged = _edited(text, [*plan.edits, *_addition(found, plan)])
    _make_sure(merged, settings, name)
    diff = difflib.unified_diff(text.splitlines(), merged.splitlines(), name, f"{name} (merged)", lineterm="", n=1)
    others = {key: why for key, why in rivals.items() if key not in settings and aliases.get(key) not in settings}
    said = (
        *plan.remarks,
        *remarks.against(found, settings, others),
        *remarks.misspelt(found, settings, {*aliases, *rivals}),
    )
    return Merged(merged, "\n".join(diff), said)


def _place(found: Document, plan: _Plan, key: str, value: object, older: list[str]) -> None:
    """Plan the one entry that holds a setting, by the key's own name."""
    holders = [found.entries[name] for name in (key, *older) if name in found.entries]
    if not holders:
        plan.missing[key] = value
        return
    first, *surplus = holders
    if plan.last is None or first.start > plan.last.start:
        plan.last = first
    if first.key != key:
        _change(plan, first, (first.start, first.key_end, json.dumps(key) if found.is_json else key))
        plan.remarks.append(f"{first.key} is another spelling of {key}, which replaces it.")
    _give(found, plan, first, value)
    for entry in surplus:
        _drop(found, plan, entry, key)


def _change(plan: _Plan, entry: Entry, edit: _Edit) -> None:
    plan.changed.append(entry)
    plan.edits.append(edit)


def _give(found: Document, plan: _Plan, entry: Entry, value: object) -> bool:
    """Plan another value for an entry; False where it has that value already."""
    if entry.has(value):
        return False
    start = entry.value_start
    gap = " " if entry.end == start else ""
    _change(plan, entry, (start, entry.end, gap + _inline(found, value)))
    return True


def _drop(found: Document, plan: _Plan, entry: Entry, key: str) -> None:
    said = f"{entry.key} is another spelling of {key}, which stands there too"
    if found.flow:
        plan.remarks.append(f"{said}: delete it.")
        return
    _change(plan, entry, (found.line_of(entry.start), found.line_after(entry.end), ""))
    plan.remarks.append(f"{said}: it was taken out.")


def _reset(found: Document, plan: _Plan, key: str, value: object) -> None:
    entry = found.entries.get(key)
    if entry and _give(found, plan, entry, value):
        plan.remarks.append(f"{key} needs workers, and there are none: it is {_inline(found, value)} now.")


def _refuse_tied(plan: _Plan, name: str) -> None:
    for entry in plan.changed:
        if entry.tied:
            what = f"{name}: {entry.key} is to change, and a YAML alias ties its value to another."
            raise UsageError(what, "Write the value out in place of the alias; the file was not changed.")


def _inline(found: Document, value: object) -> str:
    if found.is_json:
        return json.dumps(value, ensure_ascii=False)
    import yaml

    text = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=1 << 20)
    return text.removesuffix("\n").removesuffix("\n...")


def _addition(found: Document, plan: _Plan) -> list[_Edit]:
    """Return the edit that adds what the file lacks, after its last tuned key or at its end."""
    pairs = [_pair(found, key, value) for key, value in plan.missing.items()]
    if not pairs:
        return []
    text, here, indent = found.text, found.end, 0
    if found.flow:
        return [_in_braces(found, pairs)]
    if found.entries:
        after = plan.last or list(found.entries.values())[-1]
        here, indent = found.line_after(after.end), after.start - found.line_of(after.start)
    lines = "".join(f"{' ' * indent}{pair}{found.line_end}" for pair in pairs)
    broken = text[here - 1 : here] not in ("", "\n")
    return [(here, here, found.line_end * broken + lines)]


def _pair(found: Document, key: str, value: object) -> str:
    return f"{json.dumps(key) if found.is_json else key}: {_inline(found, value)}"


def _in_braces(found: Document, pairs: list[str]) -> _Edit:
    """Return the edit that adds pairs after the last of a mapping in braces, one a line where that has a line."""
    if not found.entries:
        return found.end, found.end, ", ".join(pairs)
    last = list(found.entries.values())[-1]
    before = found.text[found.line_of(last.start) : last.start]
    gap = found.line_end + before if not before.strip() else " "
    after = found.text[last.end : found.end].lstrip().startswith(",")  # YAML alone allows one
    here = found.text.index(",", last.end) + 1 if after else last.end
    added = f",{gap}".join(pairs)
    return here, here, f"{'' if after else ','}{gap}{added}"


def _edited(text: str, edits: list[_Edit]) -> str:
    for start, end, new in sorted(edits, reverse=True):
        text = text[:start] + new + text[end:]
    return text


def _make_sure(merged: str, settings: Mapping[str, Any], name: str) -> None:
    """Refuse a file of so rare a shape that the keys would not be read from it as they are meant."""
    refusal = UsageError(
        f"{name} is written in a way that cannot be merged into.",
        "Write its top level as plain `key: value` lines; the file was not changed.",
    )
    try:
        entries = document.read(merged, name).entries
    except UsageError as error:
        raise refusal from error
    if not all(key in entries and entries[key].has(value) for key, value in settings.items()):
        raise refusal
