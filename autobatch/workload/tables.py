"""Files of samples as rows: found once, then read one at a time, so that a large file never lies in memory whole.

A table holds no open file, so that a forked DataLoader worker can read beside its parent.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from autobatch.errors import UsageError

MAX_BYTES = 64 << 30
"""Of a file that is read row by row."""
MAX_WHOLE_BYTES = 1 << 30
"""Of a file that is read whole (JSON, Parquet)."""
MAX_ROW_BYTES = 16 << 20
"""Of one row, and of one file in a folder."""
TEXT_SUFFIXES = frozenset({".txt", ".md", ".py"})

Row = Mapping[str, Any]


class Table(Protocol):
    """Rows of a file or folder. Errors while reading are UsageErrors that say where."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns."""

    def __len__(self) -> int: ...

    def row(self, index: int) -> Row:
        """Return one row by column."""

    def rows(self) -> Iterator[Row]:
        """Yield every row in order, faster than one by one."""

    def where(self, index: int) -> str:
        """Return the place of a row in words: `train.jsonl, line 12`."""


def not_utf8(where: str) -> UsageError:
    """Return the error for bytes that are no UTF-8."""
    do = "Save it as UTF-8; Korean files are often CP949: iconv -f CP949 -t UTF-8."
    return UsageError(f"{where}: it is not UTF-8 text.", do)


def check_size(path: Path, limit: int) -> None:
    """Raise UsageError if a file is larger than `limit` bytes."""
    if path.stat().st_size > limit:
        what = f"{path} is larger than {limit >> 30} GiB."
        raise UsageError(what, "Convert it to JSON Lines, or give a part of it that holds the longest samples.")


class Whole:
    """Rows that lie in memory: of a JSON document."""

    def __init__(self, name: str, rows: list[Row]) -> None:
        self._name = name
        self._rows = rows
        self.columns = tuple(rows[0]) if rows else ()

    def __len__(self) -> int:
        return len(self._rows)

    def row(self, index: int) -> Row:
        """Return one row by column."""
        return self._rows[index]

    def rows(self) -> Iterator[Row]:
        """Yield every row in order."""
        return iter(self._rows)

    def where(self, index: int) -> str:
        """Return file and number of a row, from 1."""
        return f"{self._name}, entry {index + 1}"


class Folder:
    """The text files below a folder, each one sample, in the order of their paths."""

    columns = ("text",)

    def __init__(self, folder: Path) -> None:
        self._paths = sorted(path for path in folder.rglob("*") if _is_text(path, folder))

    def __len__(self) -> int:
        return len(self._paths)

    def row(self, index: int) -> Row:
        """Return a file's text under the column `text`."""
        path = self._paths[index]
        try:
            check_size(path, MAX_ROW_BYTES)
            return {"text": path.read_text(encoding="utf-8-sig")}
        except UnicodeDecodeError as error:
            raise not_utf8(str(path)) from error
        except OSError as error:
            raise UsageError(f"{path} cannot be read: {error.strerror}.", "Check its permissions.") from error

    def rows(self) -> Iterator[Row]:
        """Yield every row in order."""
        return map(self.row, range(len(self)))

    def where(self, index: int) -> str:
        """Return the path of a file."""
        return str(self._paths[index])


def _is_text(path: Path, folder: Path) -> bool:
    hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
    return path.suffix.lower() in TEXT_SUFFIXES and not hidden and path.is_file()


def parse_json(data: bytes, where: str) -> Any:  # noqa: ANN401 - JSON is anything
    """Return what a JSON text holds.

    Raises:
        UsageError: it is malformed, too deep, or not UTF-8.

    """
    try:
        return json.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise not_utf8(where) from error
    except RecursionError as error:
        raise UsageError(f"{where}: it is nested too deep.", "Give each sample as a flat object of texts.") from error
    except ValueError as error:
        raise UsageError(f"{where}: it is not JSON: {error}.", "Correct the line, or convert the file.") from error
