"""JSON Lines and CSV as tables: an index of where each row begins, and rows read on demand."""

from __future__ import annotations

import csv
import re
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from autobatch.errors import UsageError
from autobatch.workload.tables import MAX_BYTES, MAX_ROW_BYTES, Row, check_size, not_utf8, parse_json

csv.field_size_limit(MAX_ROW_BYTES)  # the default, 128 KiB, is less than a long document


class JsonLines:
    """One JSON object a line; blank lines are passed over."""

    def __init__(self, path: Path) -> None:
        check_size(path, MAX_BYTES)
        self._path = path
        self._offsets = array("q")
        self._lines = array("q")
        self._index()
        self.columns = tuple(self.row(0)) if self._offsets else ()

    def __len__(self) -> int:
        return len(self._offsets)

    def row(self, index: int) -> Row:
        """Return one row by column."""
        with self._path.open("rb") as file:
            file.seek(self._offsets[index])
            return self._parsed(file.readline(), index)

    def rows(self) -> Iterator[Row]:
        """Yield every row in order."""
        with self._path.open("rb") as file:
            lines = (line for line in file if not line.isspace())
            for index, line in zip(range(len(self)), lines, strict=False):
                yield self._parsed(line, index)

    def where(self, index: int) -> str:
        """Return file and line of a row."""
        return f"{self._path.name}, line {self._lines[index]}"

    def _index(self) -> None:
        offset = number = 0
        with self._path.open("rb") as file:
            while line := file.readline(MAX_ROW_BYTES + 1):
                number += 1
                if len(line) > MAX_ROW_BYTES:
                    what = f"{self._path.name}, line {number}: it is longer than {MAX_ROW_BYTES >> 20} MiB."
                    raise UsageError(what, "Write one JSON object a line.")
                if not line.isspace():
                    self._offsets.append(offset)
                    self._lines.append(number)
                offset += len(line)

    def _parsed(self, line: bytes, index: int) -> Row:
        row = parse_json(line, self.where(index))
        if isinstance(row, dict):
            return row
        raise UsageError(f"{self.where(index)}: it is no JSON object.", 'Write lines such as {"text": "..."}.')


class Csv:
    """Values separated by commas, tabs, semicolons or bars under a line of column names."""

    def __init__(self, path: Path) -> None:
        check_size(path, MAX_BYTES)
        self._path = path
        self._delimiter = "\t" if path.suffix.lower() == ".tsv" else _delimiter(path)
        self._offsets = array("q")
        self._line_numbers = array("q")
        records = self._records(0)
        self.columns = tuple(name.strip() for name in next(records, (0, 0, []))[2])
        for offset, line, values in records:
            if values:
                self._offsets.append(offset)
                self._line_numbers.append(line)

    def __len__(self) -> int:
        return len(self._offsets)

    def row(self, index: int) -> Row:
        """Return one row by column."""
        _, _, values = next(self._records(self._offsets[index], self._line_numbers[index]))
        return self._named(values, index)

    def rows(self) -> Iterator[Row]:
        """Yield every row in order."""
        records = self._records(0)
        next(records, None)
        filled = (values for _, _, values in records if values)
        for index, values in zip(range(len(self)), filled, strict=False):
            yield self._named(values, index)

    def where(self, index: int) -> str:
        """Return file and first line of a row."""
        return f"{self._path.name}, line {self._line_numbers[index]}"

    def _records(self, offset: int, line: int = 1) -> Iterator[tuple[int, int, list[str]]]:
        """Yield (offset, line, values) of each record from an offset on.

        The reader asks for a line only when it needs one, so the position before a record is where it begins.
        """
        position = _Position(offset, line)
        with self._path.open("rb") as file:
            file.seek(offset)
            reader = csv.reader(self._decoded(file, position), delimiter=self._delimiter, strict=True)
            while True:
                start = (position.offset, position.line)
                try:
                    values = next(reader)
                except StopIteration:
                    return
                except csv.Error as error:
                    what = f"{self._path.name}, line {start[1]}: {error}."
                    raise UsageError(what, "Quote fields that hold commas, quotes or line breaks.") from error
                yield (*start, values)

    def _decoded(self, file: BinaryIO, position: _Position) -> Iterator[str]:
        begin = position.offset
        while line := file.readline(MAX_ROW_BYTES + 1):
            where = f"{self._path.name}, line {position.line}"
            if len(line) > MAX_ROW_BYTES:
                raise UsageError(f"{where}: it is longer than {MAX_ROW_BYTES >> 20} MiB.", "Check the file's quotes.")
            position.advance(line)
            try:
                yield line.decode("utf-8-sig" if begin == 0 and position.offset == len(line) else "utf-8")
            except UnicodeDecodeError as error:
                raise not_utf8(where) from error

    def _named(self, values: list[str], index: int) -> Row:
        if len(values) == len(self.columns):
            return dict(zip(self.columns, values, strict=True))
        what = f"{self.where(index)}: it has {len(values)} fields, the first line has {len(self.columns)}."
        raise UsageError(what, "Quote fields that hold commas, quotes or line breaks.")


def _delimiter(path: Path) -> str:
    """Return the comma, or where the names are separated by another sign and by no comma, that one."""
    with path.open("rb") as file:
        names = re.sub(rb'"[^"]*"', b"", file.readline(MAX_ROW_BYTES + 1))
    return "," if b"," in names else max(",;\t|", key=lambda sign: names.count(sign.encode()))


@dataclass
class _Position:
    """Where the next line of a file begins."""

    offset: int
    line: int

    def advance(self, line: bytes) -> None:
        """Pass a line."""
        self.offset += len(line)
        self.line += 1
