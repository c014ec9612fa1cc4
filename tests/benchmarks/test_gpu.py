"""The parts of a run on a card: their time, their files, and that nothing of them is left."""

import importlib
import json
import os
import subprocess
import sys
import time
import zipfile
from dataclasses import astuple

import pytest

from autobatch.isolation import proc
from benchmarks import gpu, processes
from benchmarks.common import Deadline
from benchmarks.gpu import Outcome, Run, make_room, share_s
from benchmarks.gpu_parts import PARTS, Part

MARK = "AUTOBATCH_TEST_GPU"
# in a session of its own, so that no signal to a group reaches it
DETACHED = "import subprocess; subprocess.Popen(['sleep', '600'], start_new_session=True)"
STUBBORN = f"import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); {DETACHED}; print('on', flush=True)"
# the command itself, on other parts: it takes in the orphans of its process, and kills what is below that
COMMAND = """
import json, sys
from benchmarks import gpu
from benchmarks.gpu_parts import Part
gpu.PARTS.clear()
gpu.PARTS.update((name, Part(*fields)) for name, fields in json.loads(sys.argv.pop()).items())
sys.exit(gpu.main())
"""


def part(code="", wanted=10.0, least=0.0, files=2, more=()):
    return Part(("-c", code, *more), wanted, least, files)


class Command:
    """`python -m benchmarks.gpu` on parts of a test."""

    def __init__(self, out):
        self.out = out
        self.mark = f"{MARK}={out}"

    def start(self, seconds=600, **parts):
        fields = json.dumps({name: astuple(one) for name, one in parts.items()})
        words = ["--out", str(self.out), "--seconds", str(seconds), "--grace-s", "0.1", *parts, fields]
        environment = {**processes.environment(), MARK: str(self.out)}
        command = [sys.executable, "-c", COMMAND, *words]
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)

    def run(self, seconds=600, **parts):
        """Return the exit status and the columns of the table by part."""
        with self.start(seconds, **parts) as process:
            output, _ = process.communicate(timeout=120)
        rows = (line.rsplit(maxsplit=3) for line in output.splitlines()[-len(parts) :])
        return process.returncode, {row[0].split()[0]: (row[0].split(maxsplit=1)[1], int(row[3])) for row in rows}


@pytest.fixture
def command(tmp_path):
    made = Command(tmp_path / "out")
    yield made
    proc.kill(proc.marked(made.mark))


class Clock:
    """Time that passes only where it is told to."""

    now = 0.0

    def __call__(self):
        return self.now


def test_parts_share_the_time_by_what_they_want():
    assert share_s(100, [part(wanted=30), part(wanted=20)]) == pytest.approx(60)
    assert share_s(100, [part(wanted=20)]) == pytest.approx(100)
    assert share_s(-5, [part(wanted=20)]) == 0


def test_every_part_has_its_least_before_what_is_free_is_shared():
    small, large = part(wanted=10, least=40), part(wanted=90, least=50)
    assert share_s(100, [small, large]) == pytest.approx(41)
    assert share_s(100, [large, small]) == pytest.approx(59)


def test_where_not_all_have_their_least_the_earlier_go_first():
    coming = [part(least=60), part(least=50), part(least=40)]
    assert share_s(105, coming) == pytest.approx(60 + 5 / 2)  # the second is left out, the third is not


def test_what_would_be_left_out_in_any_case_takes_no_share():
    assert share_s(100, [part(wanted=30), part(wanted=500, least=101)]) == pytest.approx(100)


def test_what_a_part_does_not_use_goes_to_those_after_it(tmp_path, monkeypatch):
    clock, given = Clock(), {}

    def spend(_, name, __, given_s):
        given[name] = given_s
        clock.now += 1 if name == "short" else given_s
        return Outcome(name, "ok")

    monkeypatch.setattr(Run, "part", spend)
    monkeypatch.setattr(gpu, "PATIENCE_S", 0.0)
    Run(tmp_path, Deadline(110, clock), 10.0).parts({"short": part(), "long": part(), "last": part()})

    assert given["short"] == pytest.approx(100 / 3)
    assert given["long"] == pytest.approx(99 / 2)
    assert given["last"] == pytest.approx(99 / 2)
    assert clock.now == pytest.approx(100)  # the grace of the last is still there


def test_a_part_with_too_little_time_is_left_out_and_starts_nothing(tmp_path):
    run = Run(tmp_path, Deadline(600), 0.1)
    assert run.part("a", part("open('started', 'w')", least=50.0), 49.0).status == "left out"
    assert not list(tmp_path.iterdir())


def test_a_part_that_fails_does_not_stop_the_others(command):
    status, rows = command.run(bad=part("print('oh'); raise SystemExit(3)"), good=part("print('well')"))

    assert (status, rows) == (1, {"bad": ("exit 3", 0), "good": ("ok", 0)})
    assert (command.out / "bad.txt").read_text() == "oh\n"
    assert (command.out / "good.txt").read_text() == "well\n"


def test_a_part_is_told_its_time_and_its_files(command):
    told = part("import sys; print(*sys.argv[1:], sep='\\n')", more=("{seconds}", "{json}", "{folder}"))
    assert command.run(100, a=told) == (0, {"a": ("ok", 0)})

    seconds, *files = (command.out / "a.txt").read_text().splitlines()
    assert 0 < int(seconds) < 100
    assert files == [str(command.out / "a.json"), str(command.out)]


def test_what_a_part_leaves_running_is_killed_and_counted(command):
    assert command.run(a=part(DETACHED), b=part()) == (1, {"a": ("ok", 1), "b": ("ok", 0)})
    assert not proc.marked(command.mark)


def test_a_part_that_ignores_its_interruption_is_killed_with_all_that_it_started(command):
    _, rows = command.run(gpu.PATIENCE_S + 3, a=part(f"{STUBBORN}; time.sleep(600)"))
    assert rows["a"][0] == "timed out"
    assert not proc.marked(command.mark)


def test_a_command_that_is_ended_ends_its_part_too(command):
    with command.start(a=part(f"{STUBBORN}; time.sleep(600)")) as process:
        text = command.out / "a.txt"
        while not text.exists() or not text.read_text():
            assert process.poll() is None
            time.sleep(0.05)
        process.terminate()
        assert process.wait(60) == gpu.INTERRUPTED
    assert not proc.marked(command.mark)


def test_the_oldest_files_are_archived_where_there_would_be_too_many(tmp_path):
    for number in range(6):
        (tmp_path / f"{number}.txt").write_text(str(number))
        os.utime(tmp_path / f"{number}.txt", (1e9 + number, 1e9 + number))
    make_room(tmp_path, 2, most=8)
    assert len(list(tmp_path.iterdir())) == 6
    make_room(tmp_path, 3, most=8)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["2.txt", "3.txt", "4.txt", "5.txt", "more.zip"]
    make_room(tmp_path, 7, most=8)
    assert [path.name for path in tmp_path.iterdir()] == ["more.zip"]
    with zipfile.ZipFile(tmp_path / "more.zip") as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == {f"{n}.txt": b"%d" % n for n in range(6)}


@pytest.mark.parametrize("name", list(PARTS))
def test_the_command_of_every_part_is_one(name, tmp_path):
    words = PARTS[name].command(seconds="100", json=str(tmp_path / "x.json"), folder=str(tmp_path))
    assert words[0] == "-m"
    options = importlib.import_module(words[1]).command().parse_args(words[2:])
    assert (options.json, options.seconds) == (tmp_path / "x.json", 100.0)


def test_no_part_writes_more_files_than_come_back():
    assert all(part.files < gpu.MOST_FILES for part in PARTS.values())
    assert all(part.least_s <= part.wanted_s for part in PARTS.values())
