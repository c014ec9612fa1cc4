"""A database file that is cut, altered, emptied, replaced, locked or somebody else's: never silently empty."""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from autobatch.errors import DatabaseError
from autobatch.settings import Configuration
from autobatch.store import open_storage, read, rows
from autobatch.store.ledger import Ledger
from autobatch.verdict import Kind, Verdict
from benchmarks.faults import Line, scaled
from benchmarks.faults.survey import Tally
from benchmarks.faults.worker import STUDY

PROBES = 40
FLIPS = 1000
PAGE = 4096
FRAME = PAGE + 24
_WAL_HEADER = 32
_SIDE_FILES = ("", "-wal", "-shm", ".mark")

Change = Callable[[Path], None]


@dataclass(frozen=True)
class Sample:
    """A database to be damaged, and what it holds: `cold` was closed, `hot` was killed with its log unmerged."""

    cold: Path
    hot: Path
    held: list[tuple[int, str, str]]


def run(folder: Path, scale: float) -> Iterator[Line]:
    """Yield a line for each way of damaging."""
    sample = make(folder)
    yield truncated(sample, folder / "cut")
    yield log_truncated(sample, folder / "cut-log")
    yield flipped(sample, folder / "flip", scaled(FLIPS, scale))
    yield side_files(sample, folder / "side")
    yield in_use(sample, folder / "use")
    yield foreign(folder / "foreign")


def make(folder: Path, probes: int = PROBES) -> Sample:
    """Make a database of some trials, killed and closed."""
    import optuna

    hot, cold = folder / "hot" / "trials.db", folder / "cold" / "trials.db"
    working = folder / "working" / "trials.db"
    with Ledger.open(working) as ledger:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        storage = open_storage(working)
        study = optuna.create_study(storage=storage, study_name=STUDY, direction="maximize")
        for number in range(probes):
            trial = study.ask()
            configuration = Configuration(per_device_train_batch_size=number + 1)
            entry = ledger.begin(STUDY, trial.number, configuration, "probe", "search")
            entry.sample({"host_bytes": number})
            entry.finish(Verdict(Kind.KILLED_IN_FLIGHT if number % 4 == 0 else Kind.OK))
            study.tell(trial, 1.0)
            if number == probes // 2:
                with ledger.database.reading() as connection:
                    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        _copy(working, hot)
        storage.engine.dispose()
    _copy(working, cold)
    with closing(sqlite3.connect(cold)) as connection:
        held = connection.execute("SELECT probe_id, digest, kind FROM ab_probes ORDER BY probe_id").fetchall()
    return Sample(cold, hot, held)


def truncated(sample: Sample, folder: Path) -> Line:
    """Cut the file at every page, and within it, closed and with its log."""
    tally = Tally("the database cut at every page")
    for origin in (sample.cold, sample.hot):
        for start in range(0, origin.stat().st_size, PAGE):
            for size in (start, start + PAGE // 3):
                _judge(tally, sample, origin, folder, partial(_cut, size=size))
    return tally.line()


def log_truncated(sample: Sample, folder: Path) -> Line:
    """Cut the write-ahead log at every frame, and within it: commits that were acknowledged are gone."""
    tally = Tally("the write-ahead log cut at every frame")
    size = _beside(sample.hot, "-wal").stat().st_size
    for start in range(_WAL_HEADER, size, FRAME):
        for cut in (start, start + FRAME // 3):
            _judge(tally, sample, sample.hot, folder, partial(_cut, size=cut, suffix="-wal"))
    return tally.line()


def flipped(sample: Sample, folder: Path, count: int, seed: int = 0) -> Line:
    """Alter a byte anywhere in the database or its log."""
    tally = Tally("a byte altered in the database or its log")
    generator = random.Random(seed)
    for number in range(count):
        origin = (sample.cold, sample.hot)[number % 2]
        suffix = "-wal" if number % 4 == 1 else ""
        position = generator.randrange(_beside(origin, suffix).stat().st_size)
        mask = generator.randrange(1, 256)
        _judge(tally, sample, origin, folder, partial(_flip, suffix=suffix, position=position, mask=mask))
    return tally.line()


def side_files(sample: Sample, folder: Path) -> Line:
    """Lose or empty the database or a file beside it."""
    tally = Tally("the database or a side file deleted, emptied, or older")
    for origin in (sample.cold, sample.hot):
        for suffix in _SIDE_FILES:
            if _beside(origin, suffix).exists():
                _judge(tally, sample, origin, folder, partial(_unlink, suffix=suffix))
                _judge(tally, sample, origin, folder, partial(_cut, size=0, suffix=suffix))
    _judge(tally, sample, sample.cold, folder, partial(_replace, other=sample.hot))
    _judge(tally, sample, sample.hot, folder, _scramble_mark)
    return tally.line()


def in_use(sample: Sample, folder: Path) -> Line:
    """Delete, replace or lock the database while it is open."""
    tally = Tally("the database deleted, replaced or locked while in use")
    changes: dict[str, Change] = {
        "unlinked": _unlink,
        "log unlinked": partial(_unlink, suffix="-wal"),
        "replaced": partial(_replace, other=sample.cold),
    }
    for name, change in changes.items():
        path = _fresh(sample.cold, folder)
        with Ledger.open(path) as ledger:
            change(path)
            tally.add(_refuses(partial(_begin, ledger)), name)
    path = _fresh(sample.cold, folder)
    with Ledger.open(path, busy_s=0.2) as ledger, closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        tally.add(_refuses(partial(_begin, ledger)), "locked")
    return tally.line()


def foreign(folder: Path) -> Line:
    """Open what is no database of ours."""
    tally = Tally("another program's file, a newer version's, no database")
    makers: dict[str, Change] = {
        "another program's": partial(_execute, statement="CREATE TABLE songs (title TEXT)"),
        "another program's by its header": partial(_execute, statement="PRAGMA application_id = 7"),
        "a newer version's": _make_newer,
        "text": _write_text,
        "a folder": Path.mkdir,
        "a link to nowhere in a folder that is a file": _link_astray,
    }
    for name, maker in makers.items():
        path = folder / name / "trials.db"
        path.parent.mkdir(parents=True)
        maker(path)
        tally.add(_refuses(partial(_open, path)), name)
    return tally.line()


def _judge(tally: Tally, sample: Sample, origin: Path, folder: Path, change: Change) -> None:
    """Damage a copy, open it, and count it right where it is refused or still holds everything."""
    path = _fresh(origin, folder)
    change(path)
    try:
        problem = _read_all(path, sample)
    except DatabaseError:
        tally.add(None, "refused")
    except Exception as error:  # noqa: BLE001 - any other exception is what this looks for
        tally.add(f"untyped: {error!r}")
    else:
        tally.add(problem, "whole" if problem is None else "")


def _read_all(path: Path, sample: Sample) -> str | None:
    """Read every row in every way that a search does; say what is missing."""
    with Ledger.open(path) as ledger:
        quarantined = len(ledger.quarantined(STUDY))
        with ledger.database.reading() as connection:
            found = connection.execute("SELECT probe_id, digest, kind FROM ab_probes ORDER BY probe_id").fetchall()
            by_trial = sum(len(rows.of_trial(connection, STUDY, number)) for number in range(len(sample.held)))
    with read.opened(path) as connection:
        trials = connection.execute("SELECT count(*) FROM trials WHERE state = 'COMPLETE'").fetchone()[0]
    counts = (len(found), by_trial, trials, quarantined)
    expected = (
        len(sample.held),
        len(sample.held),
        len(sample.held),
        sum(kind == Kind.KILLED_IN_FLIGHT for *_, kind in sample.held),
    )
    return None if counts == expected and found == sample.held else f"{counts} instead of {expected}"


def _refuses(act: Callable[[], object]) -> str | None:
    try:
        act()
    except DatabaseError:
        return None
    return "not refused"


def _begin(ledger: Ledger) -> None:
    ledger.begin(STUDY, PROBES, Configuration(per_device_train_batch_size=1000), "probe", "search")


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _copy(origin: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    for suffix in _SIDE_FILES:
        if _beside(origin, suffix).exists():
            shutil.copyfile(_beside(origin, suffix), _beside(target, suffix))


def _fresh(origin: Path, folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    _copy(origin, folder / "trials.db")
    return folder / "trials.db"


def _unlink(path: Path, suffix: str = "") -> None:
    _beside(path, suffix).unlink()


def _cut(path: Path, size: int, suffix: str = "") -> None:
    with _beside(path, suffix).open("r+b") as file:
        file.truncate(size)


def _flip(path: Path, suffix: str, position: int, mask: int) -> None:
    file = _beside(path, suffix)
    content = bytearray(file.read_bytes())
    content[position] ^= mask
    file.write_bytes(content)


def _replace(path: Path, other: Path) -> None:
    copy = path.with_name("copy")
    shutil.copyfile(other, copy)
    copy.replace(path)


def _scramble_mark(path: Path) -> None:
    _beside(path, ".mark").write_bytes(b"\xff" * 50)


def _write_text(path: Path) -> None:
    path.write_text("learning_rate: 1e-4\n" * 300)


def _link_astray(path: Path) -> None:
    path.symlink_to("/etc/passwd/trials.db")


def _open(path: Path) -> None:
    Ledger.open(path).close()


def _execute(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(statement)
        connection.execute("CREATE TABLE IF NOT EXISTS other (x)")
        connection.commit()


def _make_newer(path: Path) -> None:
    Ledger.open(path).close()
    _execute(path, "INSERT INTO ab_migrations VALUES (99, 'later', 0)")
