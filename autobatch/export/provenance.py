"""Where a frozen file came from, carried in comments that no parser sees.

Each line is `#: key: JSON`, with every character outside ASCII escaped, so that no name of a person's study or file
can end the comment early. The checksum covers the settings as written and all the rest of the provenance.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from autobatch.errors import UsageError

PREFIX = "#: "
SCHEMA = 1
CHECKSUM = "checksum"


def checksum(provenance: Mapping[str, Any]) -> str:
    """Return `sha256:` and the digest of everything but the checksum itself."""
    content = {key: value for key, value in provenance.items() if key != CHECKSUM}
    text = json.dumps(content, sort_keys=True, ensure_ascii=True)
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def render(provenance: Mapping[str, Any]) -> str:
    """Return the provenance and its checksum as comment lines."""
    sealed = {**provenance, CHECKSUM: checksum(provenance)}
    return "".join(f"{PREFIX}{key}: {json.dumps(value, ensure_ascii=True)}\n" for key, value in sealed.items())


def comment(text: str) -> str:
    """Return text as comment lines; characters that could end a line or a comment early are escaped."""
    safe = (line.encode("unicode_escape").decode() if not line.isprintable() else line for line in text.split("\n"))
    return "".join(f"# {line}".rstrip() + "\n" for line in safe)


def carried(text: str) -> bool:
    """Tell whether a text has provenance, or what looks like it."""
    return any(line.startswith(PREFIX) for line in text.splitlines())


def parse(text: str, name: str) -> dict[str, Any]:
    """Read the provenance back.

    Args:
        text: of the file.
        name: of the file, for messages.

    Raises:
        UsageError: there is none, it is damaged, or it is of a newer autobatch.

    """
    lines = [line.removeprefix(PREFIX) for line in text.splitlines() if line.startswith(PREFIX)]
    if not lines:
        what = f"{name} is no frozen file: it carries no provenance of autobatch."
        raise UsageError(what, "Name a file that `autobatch export` wrote, with its comments.")
    try:
        pairs = (line.partition(": ") for line in lines)
        provenance = {key: json.loads(value) for key, _, value in pairs}
    except (ValueError, RecursionError) as error:
        what = f"{name}: its provenance (the lines that begin with `{PREFIX.strip()}`) is damaged."
        raise UsageError(what, "Write it again with `autobatch export`.") from error
    if provenance.get("schema") != SCHEMA:
        what = f"{name} has schema {provenance.get('schema')}; this autobatch reads schema {SCHEMA}."
        raise UsageError(what, "Use the autobatch that wrote it, or write it again with `autobatch export`.")
    return provenance
