"""Parquet as a table, by pyarrow, which is an optional dependency."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from autobatch.errors import UsageError
from autobatch.workload.tables import MAX_WHOLE_BYTES, Row, check_size

_BATCH_ROWS = 1024


class Parquet:
    """The text columns of a Parquet file, kept in Arrow's form."""

    def __init__(self, path: Path) -> None:
        check_size(path, MAX_WHOLE_BYTES)
        self._name = path.name
        self._table = _read(path)
        self.columns = tuple(self._table.column_names)

    def __len__(self) -> int:
        return int(self._table.num_rows)

    def row(self, index: int) -> Row:
        """Return one row by column."""
        return {name: self._table.column(name)[index].as_py() for name in self.columns}

    def rows(self) -> Iterator[Row]:
        """Yield every row in order."""
        for batch in self._table.to_batches(max_chunksize=_BATCH_ROWS):
            yield from batch.to_pylist()

    def where(self, index: int) -> str:
        """Return file and number of a row, from 1."""
        return f"{self._name}, row {index + 1}"


def _read(path: Path) -> Any:  # noqa: ANN401 - pyarrow has no types
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError as error:
        what = "Parquet is read by pyarrow, which is not installed."
        raise UsageError(what, "pip install 'autobatch[parquet]'") from error
    try:
        file = parquet.ParquetFile(path)
        texts = [field.name for field in file.schema_arrow if _is_text(field.type)]
        table = file.read(columns=texts)
        table.validate(full=True)  # damaged text would be found only where it is used
    except (pa.ArrowException, ValueError, UnicodeDecodeError) as error:
        said = " ".join(str(error).split())[:200].rstrip(".")
        raise UsageError(f"{path.name} is no readable Parquet file: {said}.", "Write it again.") from error
    return table


def _is_text(kind: Any) -> bool:  # noqa: ANN401 - pyarrow has no types
    from pyarrow import types

    if types.is_dictionary(kind):  # as pandas writes a category
        kind = kind.value_type
    return bool(types.is_string(kind) or types.is_large_string(kind))
