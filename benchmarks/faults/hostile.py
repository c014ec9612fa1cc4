"""Malformed files, fuzzed from good ones: a typed error each, in bounded time and memory, and nothing executed."""

from __future__ import annotations

import json
import random
import resource
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from autobatch.errors import AutobatchError
from autobatch.safe_files import read_json, read_yaml
from autobatch.workload import data, presets
from benchmarks.faults import Line, scaled
from benchmarks.faults.survey import Tally

FILES = 100_000
LIMIT_S = 2.0
LIMIT_BYTES = 256 << 20
_MAX_TRIES = 20
_MODELS = Path(__file__).parents[2] / "configs" / "models"


@dataclass(frozen=True)
class Format:
    """One format: how it is read, and good files to spoil."""

    name: str
    ending: str
    read: Callable[[Path], object]
    seeds: tuple[bytes, ...]


def run(folder: Path, scale: float) -> Iterator[Line]:
    """Yield a line for each format, of equal shares."""
    folder.mkdir(exist_ok=True)
    every = formats()
    for form in every:
        yield fuzz(form, folder, scaled(FILES // len(every), scale))


def fuzz(form: Format, folder: Path, count: int, seed: int = 0) -> Line:
    """Read spoilt files until so many were malformed; the others, still well formed, are not counted."""
    tally = Tally(f"malformed {form.name}")
    generator = random.Random(seed)
    file = folder / f"fuzzed{form.ending}"
    trap = folder / "executed"
    before, slowest, accepted = _peak_bytes(), 0.0, 0
    while tally.injected < count and accepted < count * _MAX_TRIES:
        file.write_bytes(_spoil(generator, generator.choice(form.seeds), str(trap).encode()))
        began = time.perf_counter()
        refused, problem = _read(form, file)
        took = time.perf_counter() - began
        slowest = max(slowest, took)
        problem = problem or (f"took {took:.1f} s" if took > LIMIT_S else None)
        if refused or problem:
            tally.add(problem)
        else:
            accepted += 1
    grown = _peak_bytes() - before
    if grown > LIMIT_BYTES or trap.exists():
        tally.add(f"grew by {grown >> 20} MiB, executed: {trap.exists()}")
    tally.notes = {"well formed after all": accepted, "ms the slowest": round(slowest * 1e3), "MiB more": grown >> 20}
    return tally.line()


def _read(form: Format, file: Path) -> tuple[bool, str | None]:
    """Return whether it was refused, and what was wrong with that."""
    try:
        form.read(file)
    except AutobatchError as error:
        said = [line for line in (error.what, error.do) if line and "\n" not in line]
        return True, None if len(said) == 2 else f"said {error.what!r}, {error.do!r}"
    except Exception as error:  # noqa: BLE001 - any other exception is what this looks for
        return True, f"untyped: {error!r:.200} on {file.read_bytes()[:80]!r}"
    return False, None


def formats() -> tuple[Format, ...]:
    """Return every format, with good files to spoil."""
    presets_texts = tuple(path.read_bytes() for path in sorted(_MODELS.glob("*.yaml")))
    texts = [{"text": f"문서 {n} " * 20, "summary": '요약 "인용", 쉼표\n' * n} for n in range(1, 6)]
    lines = "\n".join(json.dumps(row, ensure_ascii=n % 2 == 0) for n, row in enumerate(texts)).encode()
    table = b'text,summary\n"a ""quoted"" text",b\n"line\nbreak",c\nplain,d\n'
    document = json.dumps(texts, ensure_ascii=False, indent=1).encode()
    return (
        Format("YAML", ".yaml", read_yaml, presets_texts),
        Format("model presets", ".yaml", presets.read, presets_texts),
        Format("JSON", ".json", read_json, (b'{"a": [1, 2.5e-3, null, true], "b": {"c": "d\\u00e9"}}',)),
        Format("JSON Lines data", ".jsonl", _read_data, (lines,)),
        Format("JSON data", ".json", _read_data, (document,)),
        Format("CSV data", ".csv", _read_data, (table,)),
        Format("TSV data", ".tsv", _read_data, (table.replace(b",", b"\t"),)),
        Format("Parquet data", ".parquet", _read_data, (_parquet(texts),)),
    )


def _read_data(path: Path) -> object:
    return sum(len(sample.text) for sample in data.read(path))


def _parquet(texts: list[dict[str, str]]) -> bytes:
    import pyarrow as pa
    from pyarrow import parquet

    sink = pa.BufferOutputStream()
    parquet.write_table(pa.Table.from_pylist(texts), sink)
    return bytes(sink.getvalue())


def _spoil(generator: random.Random, good: bytes, trap: bytes) -> bytes:
    """Return a file with one to four faults."""
    content = bytearray(good)
    for _ in range(generator.randint(1, 4)):
        generator.choice(_FAULTS)(generator, content, trap)
    return bytes(content)


def _flip(generator: random.Random, content: bytearray, _: bytes) -> None:
    if content:
        content[generator.randrange(len(content))] = generator.randrange(256)


def _cut(generator: random.Random, content: bytearray, _: bytes) -> None:
    start = generator.randint(0, len(content))
    del content[start : start + generator.choice((1, 3, 20, 10_000))]


def _double(generator: random.Random, content: bytearray, _: bytes) -> None:
    start = generator.randint(0, len(content))
    piece = content[start : start + generator.randint(1, 200)]
    content[start:start] = piece * generator.choice((1, 2, 50))


def _insert(generator: random.Random, content: bytearray, trap: bytes) -> None:
    place = generator.randint(0, len(content))
    content[place:place] = generator.choice(_POISONS).replace(b"TRAP", trap)


_FAULTS = (_flip, _cut, _double, _insert, _insert)
_POISONS = (
    b"\0", b"\xff\xfe", b"\xed\xa0\x80", b"\t", b'"', b"'", b"\\", b"\\ud800", b"[", b"{", b"]", b"}", b": ", b"- ",
    b"? ", b"&a ", b"*a", b"&a [*a]", b"<<: *a\n", b"!!binary x", b"!!set {a}", b"%YAML 9.9\n", b"---\n", b"...\n",
    b"| \n", b">9\n", b"!!python/object/apply:os.mkdir ['TRAP']", b"!!python/name:os.system ",
    b"!!python/object/new:os.mkdir ['TRAP']", b"[" * 100, b"[" * 20_000, b"{" * 20_000, b'{"a":' * 5000, b"- " * 20_000,
    b"? " * 20_000, b"a: &a [a, a]\n", b"a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\nd: [*c, *c]\n", b"9" * 5000,
    b"1:" * 20_000, b"1e999999", b"-.inf", b"0x" + b"f" * 50_000, b'"' * 20_000, b"\\" * 20_000, b"a" * 100_000,
    b"\n" * 50_000, b",", b"\r", b"\r\n", b"NaN", b"PAR1", b"\xf0\x9f\x98\x80", b"\xff\xfe\xe9\x00", b"\xef\xbb\xbf",
    b".nan", b"'''", b"#", b"2024-99-99", b"=", b"0o9", b"~: ~\n",
)  # fmt: skip


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
