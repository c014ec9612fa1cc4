"""Which table a path is: by its ending."""

from __future__ import annotations

from collections.abc import Callable, Collection
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
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from error


def unreadable(path: Path, error: OSError | ValueError) -> UsageError:
    """Return the error for a path that the system refuses."""
    reason = getattr(error, "strerror", None) or error
    return UsageError(f"{str(path)[:200]} cannot be read: {reason}.", "Check the path and its permissions.")


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
    rows = next((rows for value in (document, *inner) if (rows := _rows(value, path.name)) is not None), None)
    if rows is None:
        raise UsageError(f"{path.name} holds no list of objects.", 'Write [{"text": "..."}, ...], or JSON Lines.')
    return Whole(path.name, rows)


def _rows(value: Any, name: str) -> list[Row] | None:  # noqa: ANN401 - JSON is anything
    if isinstance(value, list) and all(isinstance(row, dict) for row in value):
        return value
    if isinstance(value, dict) and value and all(map(_is_column, value.values())):
        return [dict(zip(value, cells, strict=True)) for cells in zip(*_of_one_length(value, name), strict=True)]
    return None


def _of_one_length(columns: dict[str, list[Any]], name: str) -> Collection[list[Any]]:
    counts = {column: len(cells) for column, cells in columns.items()}
    if len({*counts.values()}) > 1:
        said = ", ".join(f"{column!r} {count:,}" for column, count in list(counts.items())[:12])
        raise UsageError(f"{name}: its columns differ in length: {said}.", "Give every column an entry a sample.")
    return columns.values()


def _is_column(value: Any) -> bool:  # noqa: ANN401 - JSON is anything
    return isinstance(value, list) and not any(isinstance(cell, dict) for cell in value[:1])


def _parquet(path: Path) -> Table:
    from autobatch.workload.parquet import Parquet

    return Parquet(path)
