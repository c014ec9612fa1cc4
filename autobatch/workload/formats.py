"""Which table a path is: by its ending."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from autobatch.errors import UsageError
from autobatch.workload.lines import Csv, JsonLines
from autobatch.workload.tables import MAX_ROW_BYTES, MAX_WHOLE_BYTES, Folder, Row, Table, Whole, check_size, parse_json

_ENDINGS: dict[str, Callable[[Path], Table]] = {
    ".jsonl": JsonLines,
    ".ndjson": JsonLines,
    ".csv": Csv,
    ".tsv": Csv,
}


def open_table(path: Path) -> Table:
    """Return the samples of a file or folder as a table.

    Raises:
        UsageError: it is not there, cannot be read, is of no format known here, or is malformed.

    """
    try:
        return _opened(path)
    except OSError as error:
        what = f"{path} cannot be read: {error.strerror or error}."
        raise UsageError(what, "Check the path and its permissions.") from error


def _opened(path: Path) -> Table:
    if path.is_dir():
        return Folder(path)
    ending = path.suffix.lower()
    if not path.is_file() or not (ending in _ENDINGS or ending in {".json", ".parquet"}):
        if path.stat():  # raises where there is nothing
            what = f"{path} is no data of a kind known here."
        raise UsageError(what, "Give .jsonl, .json, .csv, .tsv or .parquet, or a folder of .txt, .md or .py files.")
    if ending == ".parquet":
        return _parquet(path)
    return _json(path) if ending == ".json" else _ENDINGS[ending](path)


def _json(path: Path) -> Table:
    """Read a JSON document: a list of objects, columns of lists, or either under one name; else JSON Lines."""
    with path.open("rb") as file:
        lines = [line for line in (file.readline(MAX_ROW_BYTES) for _ in range(2)) if line.strip()]
    if len(lines) > 1 and all(line.lstrip().startswith(b"{") and line.rstrip().endswith(b"}") for line in lines):
        return JsonLines(path)
    check_size(path, MAX_WHOLE_BYTES)
    document = parse_json(path.read_bytes(), path.name)
    inner = document.values() if isinstance(document, dict) else ()
    rows = next((rows for value in (document, *inner) if (rows := _rows(value)) is not None), None)
    if rows is None:
        raise UsageError(f"{path.name} holds no list of objects.", 'Write [{"text": "..."}, ...], or JSON Lines.')
    return Whole(path.name, rows)


def _rows(value: Any) -> list[Row] | None:  # noqa: ANN401 - JSON is anything
    if isinstance(value, list) and all(isinstance(row, dict) for row in value):
        return value
    if isinstance(value, dict) and value and all(map(_is_column, value.values())):
        return [dict(zip(value, cells, strict=False)) for cells in zip(*value.values(), strict=False)]
    return None


def _is_column(value: Any) -> bool:  # noqa: ANN401 - JSON is anything
    return isinstance(value, list) and not any(isinstance(cell, dict) for cell in value[:1])


def _parquet(path: Path) -> Table:
    from autobatch.workload.parquet import Parquet

    return Parquet(path)
