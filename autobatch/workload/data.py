"""A person's own data: samples read where they lie, their token lengths, and the digest of their content."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, overload

from autobatch.errors import UsageError
from autobatch.workload import lengths as distributions
from autobatch.workload import tokens
from autobatch.workload.columns import choose, parts
from autobatch.workload.formats import open_table, unreadable
from autobatch.workload.spec import Data, Lengths, Workload
from autobatch.workload.tables import Row, Table
from autobatch.workload.tokens import Tokenizer

MEASURED = 20_000
"""Samples whose tokens are counted; of a larger set as many at random, and those with the most text besides."""
LONGEST = 256


class Sample(NamedTuple):
    """One text, and its summary where there is one."""

    text: str
    summary: str | None


class Description(NamedTuple):
    """What a search needs to know of a data set."""

    data: Data
    lengths: Lengths
    """After truncation to what the workload allows."""


class Samples(Sequence[Sample]):
    """Samples of a file or folder, read when asked for. It may be forked and pickled.

    Attributes:
        text_column, summary_column: the columns read; the second is None where there is none. Where the text is of
            several columns, the first names them with a `+` between.

    """

    def __init__(self, table: Table, text_column: str, summary_column: str | None) -> None:
        self._table = table
        self.text_column = text_column
        self.summary_column = summary_column
        self._parts = parts(table, text_column)

    def __len__(self) -> int:
        return len(self._table)

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> list[Sample]: ...
    def __getitem__(self, index: int | slice) -> Sample | list[Sample]:
        """Return a sample; a malformed one raises UsageError that names its line."""
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        position = range(len(self))[index]
        return self._sample(self._table.row(position), position)

    def __iter__(self) -> Iterator[Sample]:
        for index, row in enumerate(self._table.rows()):
            yield self._sample(row, index)

    def _sample(self, row: Row, index: int) -> Sample:
        summary = self._text(row, self.summary_column, index) if self.summary_column else None
        return Sample(self._joined(row, index), summary)

    def _joined(self, row: Row, index: int) -> str:
        """Return the text; of what further columns hold, which may be nothing, each piece on a new line."""
        first, *further = self._parts
        pieces = [self._text(row, first, index)]
        pieces += [self._text(row, column, index) for column in further if row.get(column) is not None]
        return "\n".join(filter(None, pieces))

    def _text(self, row: Row, column: str, index: int) -> str:
        value = row.get(column)
        if isinstance(value, str):
            # half a surrogate pair, which JSON can spell, is no character
            return value if value.isascii() else value.encode(errors="replace").decode()
        holds = "is not there" if column not in row else "is empty" if value is None else f"is no text: {value!r:.40}"
        what = f"{self._table.where(index)}: the column {column!r} {holds}."
        raise UsageError(what, "Correct the line, or name other columns by --text-column and --summary-column.")


def read(path: str | Path, text_column: str | None = None, summary_column: str | None = None) -> Samples:
    """Return the samples of a JSON Lines, JSON, CSV, TSV or Parquet file, or of a folder of .txt, .md and .py files.

    Args:
        path: of the file or folder.
        text_column: None guesses it by its name; a `+` joins more than one.
        summary_column: None guesses it by its name; there may be none.

    Raises:
        UsageError: it is missing, unreadable, empty, too large, malformed, or without such columns.

    """
    table = open_table(Path(path))
    if not len(table):
        what = f"{path} holds no samples."
        raise UsageError(what, "Give .jsonl, .json, .csv, .tsv or .parquet, or a folder of .txt, .md or .py files.")
    text, summary = choose(table, str(path), text_column, summary_column)
    return Samples(table, text, summary)


def with_data(
    workload: Workload,
    path: str | Path,
    text_column: str | None = None,
    summary_column: str | None = None,
) -> Workload:
    """Return the workload on a person's own data, with a note on columns that were guessed, and on estimates.

    Raises:
        UsageError: as `describe`.

    """
    data, measured = describe(path, workload, text_column, summary_column)
    # what was said of lengths that nobody knew is no longer so
    notes = tuple(note for note in workload.notes if not note.startswith(distributions.UNKNOWN))
    if None in (text_column, summary_column) and not Path(path).is_dir():
        notes += (_columns_read(data),)
    if measured.estimated:
        notes += ("Token lengths are an estimate: the model's tokenizer is not on the disk.",)
    samples = data.samples or workload.train_samples
    return replace(workload, data=data, lengths=measured, train_samples=samples, notes=notes)


def _columns_read(data: Data) -> str:
    summary = repr(data.summary_column) if data.summary_column else "no column"
    return f"Of {Path(data.path).name!r} the text is read from {data.text_column!r}, the summary from {summary}."


def describe(
    path: str | Path,
    workload: Workload,
    text_column: str | None = None,
    summary_column: str | None = None,
) -> Description:
    """Return where the data is, with its content's digest, longest sample and size, and its token lengths.

    Raises:
        UsageError: as `read`; or an encoder-decoder is to learn from texts without summaries.

    """
    samples = read(path, text_column, summary_column)
    if workload.model.family == "seq2seq" and samples.summary_column is None:
        what = f"{workload.model.name} writes summaries, and no column of {path} holds any."
        raise UsageError(what, "Name it by --summary-column, or choose a causal model.")
    measured, longest = _measure(samples, workload)
    where = str(Path(path).resolve())
    data = Data(where, samples.text_column, samples.summary_column, digest(Path(path)), longest, len(samples))
    return Description(data, measured)


def lengths(samples: Sequence[Sample], tokenizer: Tokenizer, max_source: int, max_target: int | None) -> Lengths:
    """Return the distribution of token lengths after truncation.

    Args:
        samples: texts and summaries.
        tokenizer: what counts; see `tokens.load`.
        max_source: tokens at which the source is cut.
        max_target: tokens at which the target is cut; None for a causal model, whose source is text and summary.

    """
    counts = [_count(sample, tokenizer, causal=max_target is None) for sample in samples]
    return _distribution(counts, max_source, max_target, estimated=tokenizer.estimated)


def digest(path: Path) -> str:
    """Return the SHA-256 of a file's bytes; of a folder, of its text files' names and bytes.

    Raises:
        UsageError: it is not there, or cannot be read.

    """
    try:
        if path.is_file():
            with path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise unreadable(path, error) from error
    return _folder_digest(path)


def _folder_digest(path: Path) -> str:
    total = hashlib.sha256()
    table = open_table(path)
    for index, row in enumerate(table.rows()):
        entry = f"{table.where(index).removeprefix(str(path))}\0{row['text']}\0"
        total.update(entry.encode(errors="surrogateescape"))  # a name may be in another encoding than UTF-8
    return total.hexdigest()


def _count(sample: Sample, tokenizer: Tokenizer, *, causal: bool) -> tuple[int, int]:
    source, target = len(tokenizer.ids(sample.text)), len(tokenizer.ids(sample.summary or ""))
    return (source + target, 0) if causal and sample.summary else (source, target)


def _distribution(
    counts: Sequence[tuple[int, int]],
    max_source: int,
    max_target: int | None,
    *,
    estimated: bool,
) -> Lengths:
    source = distributions.quantiles([count for count, _ in counts])
    target = distributions.quantiles([count for _, count in counts]) if max_target else ()
    return distributions.clip(Lengths(source, target, estimated), max_source, max_target)


def _measure(samples: Samples, workload: Workload) -> tuple[Lengths, int]:
    """Return the lengths, and the index of the sample with the most tokens."""
    causal = workload.model.family == "causal"
    tokenizer = tokens.load(workload.model)
    chosen = _worth_counting(samples)
    counts = [_count(samples[index], tokenizer, causal=causal) for index in chosen]
    longest = chosen[max(range(len(chosen)), key=lambda i: sum(counts[i]))]
    target = None if causal else workload.max_target_length
    return _distribution(counts, workload.max_source_length, target, estimated=tokenizer.estimated), longest


def _worth_counting(samples: Samples) -> list[int]:
    """Return all indices of a set of moderate size; of a larger one a random part, and the longest by bytes."""
    sizes = [len(sample.text.encode()) + len((sample.summary or "").encode()) for sample in samples]
    if len(sizes) <= MEASURED:
        return list(range(len(sizes)))
    drawn = random.Random(0).sample(range(len(sizes)), MEASURED)  # noqa: S311 - statistics, no secret
    by_size = sorted(range(len(sizes)), key=sizes.__getitem__, reverse=True)
    return sorted({*drawn, *by_size[:LONGEST]})
