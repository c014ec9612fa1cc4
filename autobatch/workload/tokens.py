"""Text as token ids: by the model's own tokenizer where it is on disk, else by an estimate that says it is one.

The estimate cuts text into runs of one script, and runs into pieces as long as a token of that script is on average in
vocabularies of the model's size. A piece's id is a hash of it, so that equal words are equal tokens and a model can
learn from them. Its rates are assumptions from the vocabularies' make-up, not measurements.
"""

from __future__ import annotations

import itertools
import re
import zlib
from pathlib import Path
from typing import Protocol

from autobatch.errors import UsageError
from autobatch.workload.spec import Model

_TOKENIZER_FILE = "tokenizer.json"
_MAX_TOKENIZER_BYTES = 256 << 20
FIRST_ID = 4
"""Lower ids are padding and other special tokens in most vocabularies."""
_DEFAULT_VOCABULARY = 32_000

_HANGUL = re.compile(r"[\uac00-\ud7a3\u1100-\u11ff\u3130-\u318f]")
_RUNS = re.compile(rf"{_HANGUL.pattern}+|[A-Za-z]+|[0-9]+|\S")
"""White space is no token: vocabularies fold it into the next word."""
_REMEMBERED = 100_000
_LETTERS_PER_TOKEN = 4
_DIGITS_PER_TOKEN = 2
_HANGUL_PER_TOKEN = {
    30_000: 2.1,
    30_080: 2.1,
    50_358: 2.1,
    32_000: 0.8,
    128_256: 1.5,
    151_936: 1.35,
    250_112: 1.6,
}
"""Hangul syllables a token holds, by the size of the vocabulary: Korean ones of 30 and 50 thousand, Llama 2's (which
spells most of them out in three bytes), Llama 3's, Qwen's, mT5's."""
_HANGUL_UNKNOWN = 1.5


class Tokenizer(Protocol):
    """Turns text into token ids."""

    estimated: bool
    """Whether it stands in for the model's tokenizer."""

    def ids(self, text: str) -> list[int]:
        """Return the token ids of a text, the end-of-sequence token or its room included."""


def load(model: Model) -> Tokenizer:
    """Return the model's tokenizer, or an estimate of it.

    Raises:
        UsageError: there is a tokenizer file and it cannot be read.

    """
    path = Path(model.path) / _TOKENIZER_FILE if model.path else None
    if path is not None and path.is_file():
        return FileTokenizer(path)
    return EstimatedTokenizer(int(model.config.get("vocab_size", _DEFAULT_VOCABULARY)))


class FileTokenizer:
    """The tokenizer of a `tokenizer.json`."""

    estimated = False

    def __init__(self, path: Path) -> None:
        from tokenizers import Tokenizer as Fast

        if path.stat().st_size > _MAX_TOKENIZER_BYTES:
            raise UsageError(f"{path} is too large for a tokenizer.", "Check that it is the file you mean.")
        try:
            self._fast = Fast.from_file(str(path))
        except Exception as error:  # the library raises bare Exception
            what = f"{path} is no tokenizer: {' '.join(str(error).split())[:200]}."
            raise UsageError(what, "Save it again with tokenizer.save_pretrained().") from error
        self._fast.no_truncation()
        self._fast.no_padding()

    def ids(self, text: str) -> list[int]:
        """Return the token ids of a text, special tokens included."""
        return list(self._fast.encode(text).ids)


class EstimatedTokenizer:
    """Pieces of text about as long as a token, hashed into the vocabulary."""

    estimated = True

    def __init__(self, vocabulary: int) -> None:
        self._span = max(1, vocabulary - FIRST_ID)
        self._hangul = _HANGUL_PER_TOKEN.get(vocabulary, _HANGUL_UNKNOWN)
        self._known: dict[str, list[int]] = {}

    def ids(self, text: str) -> list[int]:
        """Return an id for every piece, and one for the end."""
        ids: list[int] = []
        for run in _RUNS.findall(text):
            ids += self._known.get(run) or self._learned(run)
        return [*ids, self._hashed("")]

    def _learned(self, run: str) -> list[int]:
        """Return the ids of a run met for the first time, and remember them: words come again."""
        if len(self._known) >= _REMEMBERED:
            self._known.clear()
        self._known[run] = [self._hashed(piece) for piece in _cut(run, self._length(run[0]))]
        return self._known[run]

    def _hashed(self, piece: str) -> int:
        return FIRST_ID + zlib.crc32(piece.encode(errors="replace")) % self._span

    def _length(self, first: str) -> float:
        if first.isascii():
            return _LETTERS_PER_TOKEN if first.isalpha() else _DIGITS_PER_TOKEN
        return self._hangul if _HANGUL.match(first) else 1.0


def _cut(run: str, length: float) -> list[str]:
    """Cut a run into equal pieces of about `length` characters; below one, a character is several tokens."""
    count = max(1, round(len(run) / length))
    if count <= len(run):
        edges = [round(i * len(run) / count) for i in range(count + 1)]
        return [run[a:b] for a, b in itertools.pairwise(edges)]
    return [f"{run}{i}" for i in range(count)]
