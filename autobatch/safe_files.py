"""YAML and JSON files from strangers: bounded in size, depth and number of values, and only ever read as plain data."""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

from autobatch.errors import UsageError

if TYPE_CHECKING:
    from yaml import SafeLoader
    from yaml.nodes import MappingNode, Node, ScalarNode

BYTE_ORDER_MARK = "\ufeff"
MAX_BYTES = 1 << 20
MAX_DEPTH = 32
MAX_VALUES = 50_000
"""Values in one YAML file: each costs about a kilobyte while it is read."""
MAX_NUMBER_CHARACTERS = 100
"""A longer number is no setting; sexagesimal ones take quadratic time to read."""

_JSON_STRUCTURE = re.compile(r'"(?:[^"\\]++|\\.)*+"?|[\[{\]}]', re.DOTALL)
_SHORT_FLOAT = re.compile(r"[-+]?\d{1,20}[eE][-+]?\d{1,4}")
"""`1e-4`: text by YAML 1.1, a number to everybody who writes it."""
_YAML_SCALARS = ("null", "bool", "int", "float", "str", "timestamp")
_YAML_PREFIX = "tag:yaml.org,2002:"


def read_text(path: str | os.PathLike[str], max_bytes: int = MAX_BYTES, *, marked: bool = False) -> str:
    """Return the text of a regular file of at most `max_bytes` bytes of UTF-8, `marked` with its byte order mark.

    Raises:
        UsageError: it is missing, unreadable, no regular file, too large, or not UTF-8.

    """
    try:
        with open(path, "rb", opener=_open_without_waiting) as file:
            data = file.read(max_bytes + 1) if stat.S_ISREG(os.fstat(file.fileno()).st_mode) else None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        what = f"{str(path)[:200]!r} cannot be read: {reason}."
        raise UsageError(what, "Check the path and its permissions.") from error
    if data is None:
        raise UsageError(f"{path} is not a regular file.", "Name a file.")
    if len(data) > max_bytes:
        raise UsageError(f"{path} is larger than {max_bytes:,} bytes.", "Check that it is the file you mean.")
    text = _decode(data, path)
    return text if marked else text.removeprefix(BYTE_ORDER_MARK)


def read_yaml(path: str | os.PathLike[str], max_bytes: int = MAX_BYTES, max_depth: int = MAX_DEPTH) -> dict[str, Any]:
    """Return the mapping in a YAML file as plain data: text keys, lists, text, numbers, booleans, None.

    Aliases, explicit types beyond those, repeated keys and more than `MAX_VALUES` values are refused; dates stay text.

    Raises:
        UsageError: with the file and, where it is known, the line.

    """
    return _mapping(parse_yaml(read_text(path, max_bytes), str(path), max_depth), path)


def read_json(path: str | os.PathLike[str], max_bytes: int = MAX_BYTES, max_depth: int = MAX_DEPTH) -> dict[str, Any]:
    """Return the mapping in a JSON file; repeated keys are refused, NaN and Infinity are read as Python writes them.

    Raises:
        UsageError: with the file and, where it is known, the line.

    """
    return _mapping(parse_json(read_text(path, max_bytes), str(path), max_depth), path)


def parse_yaml(text: str, name: str, max_depth: int = MAX_DEPTH) -> object:
    """Parse YAML text under the rules of `read_yaml`, whatever it holds; `name` stands for the file in errors."""
    import yaml

    with _said_of(name):
        _check_yaml(text, name, max_depth)
        node = yaml.compose(text, Loader=_loader())
        value = None if node is None else _plain(node, name)
    return _checked_text(value, name)


def compose_yaml(text: str, name: str, max_depth: int = MAX_DEPTH) -> Node | None:
    """Return the tree of YAML text with its marks, under the rules of `read_yaml` but for aliases and merged keys.

    An alias is the node that it stands for: whoever follows every branch of the tree may never come to an end.
    """
    import yaml

    with _said_of(name):
        _check_yaml(text, name, max_depth, aliases=True)
        # the parser that every build has, so that marks are the same everywhere
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        if node is not None:
            _check_node(node, name, set())
    return node


def parse_json(text: str, name: str, max_depth: int = MAX_DEPTH) -> object:
    """Parse JSON text under the rules of `read_json`, whatever it holds; `name` stands for the file in errors."""
    _check_json_depth(text, name, max_depth)
    try:
        value = json.loads(text, object_pairs_hook=_unique_pairs)
    except json.JSONDecodeError as error:
        raise _malformed(name, error.lineno, error.msg) from error
    except ValueError as error:
        raise _malformed(name, None, str(error)) from error
    return _checked_text(value, name)


@contextmanager
def _said_of(name: str) -> Iterator[None]:
    """Say the parser's errors in ours."""
    import yaml

    try:
        yield
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else None
        raise _malformed(name, line, error.problem or "it is not YAML") from error
    except yaml.YAMLError as error:
        raise _malformed(name, None, str(error)) from error


def _check_node(node: Node, name: str, seen: set[int]) -> None:
    """Refuse unknown types and repeated keys; what an alias stands for was seen before, as it comes first."""
    import yaml

    if id(node) in seen:
        return
    seen.add(id(node))
    if node.tag.removeprefix(_YAML_PREFIX) not in (*_YAML_SCALARS, "map", "seq", "merge"):
        raise _malformed(name, node.start_mark.line + 1, f"the type {node.tag} is not read here")
    if isinstance(node, yaml.MappingNode):
        _check_keys(node, name)
    if isinstance(node, yaml.CollectionNode):
        for item in node.value:
            for part in item if isinstance(item, tuple) else (item,):
                _check_node(part, name, seen)


def _check_keys(node: MappingNode, name: str) -> None:
    keys: set[str] = set()
    for key in (key for key, _ in node.value if isinstance(key.value, str)):
        if key.value in keys:
            raise _malformed(name, key.start_mark.line + 1, f"the key {key.value!r} is there twice")
        keys.add(key.value)


def _open_without_waiting(path: str, flags: int) -> int:
    # opening a named pipe would wait for its writer, perhaps for ever
    return os.open(path, flags | os.O_NONBLOCK)


def _decode(data: bytes, path: str | os.PathLike[str]) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UsageError(f"{path}, line {line}: it is not UTF-8 text.", "Save it as UTF-8.") from error


def _malformed(name: str, line: int | None, problem: str) -> UsageError:
    where = f"{name}, line {line}" if line else name
    said = " ".join(problem.split())[:200].rstrip(".")
    return UsageError(f"{where}: {said}.", "Correct the file, or name another.")


def _mapping(value: object, path: str | os.PathLike[str]) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _malformed(str(path), None, "it is empty" if value is None else "it holds no mapping of names to values")
    return value


def _check_yaml(text: str, name: str, max_depth: int, *, aliases: bool = False) -> None:
    """Walk the events, which needs no more memory than the depth, before anything is built."""
    import yaml

    depth = values = 0
    for event in yaml.parse(text, Loader=_loader()):
        line = event.start_mark.line + 1 if event.start_mark else None
        if isinstance(event, yaml.AliasEvent) and not aliases:
            raise _malformed(name, line, f"the alias *{event.anchor} is not read here; write the value out")
        if isinstance(event, (yaml.CollectionStartEvent, yaml.CollectionEndEvent)):
            depth += 1 if isinstance(event, yaml.CollectionStartEvent) else -1
        values += isinstance(event, yaml.NodeEvent)
        if depth > max_depth:
            raise _malformed(name, line, f"it is nested more than {max_depth} deep")
        if values > MAX_VALUES:
            raise _malformed(name, line, f"it holds more than {MAX_VALUES:,} values")


def _loader() -> type[SafeLoader]:
    import yaml

    # the C one, 10 times as fast, is missing from some builds
    return cast("type[SafeLoader]", getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def _plain(node: Node, name: str) -> object:
    """Build plain data, so that no tag can name anything else."""
    import yaml

    kind = node.tag.removeprefix(_YAML_PREFIX)
    if isinstance(node, yaml.MappingNode) and kind == "map":
        return _plain_mapping(node, name)
    if isinstance(node, yaml.SequenceNode) and kind == "seq":
        return [_plain(item, name) for item in node.value]
    if isinstance(node, yaml.ScalarNode) and kind in _YAML_SCALARS:
        return _plain_scalar(node, kind, name)
    raise _malformed(name, node.start_mark.line + 1, f"the type {node.tag} is not read here")


def _plain_mapping(node: MappingNode, name: str) -> dict[str, object]:
    mapping: dict[str, object] = {}
    for key_node, value_node in node.value:
        key = _plain(key_node, name)
        line = key_node.start_mark.line + 1
        if not isinstance(key, str):
            raise _malformed(name, line, f"the key {key!r} is not text; quote it")
        if key in mapping:
            raise _malformed(name, line, f"the key {key!r} is there twice")
        mapping[key] = _plain(value_node, name)
    return mapping


def _plain_scalar(node: ScalarNode, kind: str, name: str) -> object:
    from yaml.constructor import SafeConstructor

    if kind in ("str", "timestamp"):
        return float(node.value) if not node.style and _SHORT_FLOAT.fullmatch(node.value) else node.value
    problem = _malformed(name, node.start_mark.line + 1, f"{node.value[:40]!r} is no {kind}")
    if len(node.value) > MAX_NUMBER_CHARACTERS:
        raise problem
    try:
        return cast("object", getattr(SafeConstructor(), f"construct_yaml_{kind}")(node))
    except (ValueError, LookupError) as error:
        raise problem from error


def _check_json_depth(text: str, name: str, max_depth: int) -> None:
    depth = 0
    for match in _JSON_STRUCTURE.finditer(text):
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(match[0], 0)
        if depth > max_depth:
            line = text.count("\n", 0, match.start()) + 1
            raise _malformed(name, line, f"it is nested more than {max_depth} deep")


def _unique_pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the pairs as a mapping, which none of JSON's callers may read in two ways."""
    mapping: dict[str, Any] = {}
    for key, value in pairs:
        if key in mapping:
            message = f"the key {key!r} is there twice"
            raise ValueError(message)
        mapping[key] = value
    return mapping


def _checked_text(value: object, name: str) -> object:
    """Refuse half surrogate pairs: text with one can be neither written nor shown."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise _malformed(name, None, "it holds half a surrogate pair") from error
    return value
