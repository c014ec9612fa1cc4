"""The three syntaxes of an export: YAML, JSON and shell variables, each written and read back alike."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Any

from autobatch.errors import UsageError
from autobatch.safe_files import parse_json, parse_yaml


def dump(syntax: str, settings: Mapping[str, Any]) -> str:
    """Write settings in order; text that a YAML reader would take for a truth value stays quoted."""
    if syntax == "json":
        return json.dumps(settings, ensure_ascii=False, indent=2) + "\n"
    if syntax == "env":
        return "".join(f"{name}={shlex.quote(str(value))}\n" for name, value in settings.items())
    import yaml

    return yaml.safe_dump(dict(settings), allow_unicode=True, sort_keys=False)


def parse(syntax: str, text: str, name: str) -> dict[str, Any]:
    """Read settings back.

    Raises:
        UsageError: the text cannot be read, or holds no settings.

    """
    if syntax == "env":
        return _parse_env(text, name)
    value = parse_json(text, name) if syntax == "json" else parse_yaml(text, name)
    if not isinstance(value, dict):
        what = f"{name} holds no settings."
        raise UsageError(what, "Write it again with `autobatch export`.")
    return value


def _parse_env(text: str, name: str) -> dict[str, Any]:
    try:
        words = shlex.split(text, comments=True)
    except ValueError as error:
        what = f"{name} is no list of variables: {error}."
        raise UsageError(what, "Write it again with `autobatch export`.") from error
    return dict(word.split("=", 1) for word in words if "=" in word)
