"""What benchmarks have in common."""

import json

import pytest

from benchmarks import common
from benchmarks.common import Deadline, Record


def test_a_deadline_knows_what_is_left_and_what_still_fits():
    now = [100.0]
    deadline = Deadline(10, lambda: now[0])
    assert (deadline.left_s, deadline.share_s(4)) == (10, 2.5)
    now[0] = 104.0
    assert deadline.allows(5.9)
    assert not deadline.allows(6.0)
    now[0] = 111.0
    assert deadline.left_s == 0
    assert not deadline.allows()


def test_a_record_has_the_figures_so_far_and_the_machine(tmp_path):
    record = Record(tmp_path / "x.json", "benchmarks.x")
    record.keep(rows=[1])
    record.keep(rows=[1, 2], name="한국어")

    kept = json.loads((tmp_path / "x.json").read_text())
    assert (kept["rows"], kept["name"]) == ([1, 2], "한국어")
    assert {"command", "machine", "date"} <= kept.keys()
    assert "torch" in kept["machine"]
    assert [path.name for path in tmp_path.iterdir()] == ["x.json"]


def test_without_a_path_nothing_is_kept(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Record(None, "benchmarks.x").keep(rows=[1])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("words", "seconds"), [([], 30.0), (["--seconds", "5"], 5.0)])
def test_every_command_line_has_a_time(words, seconds):
    assert common.parser("What it does.", 30.0).parse_args([*words, "--device", "cpu"]).seconds == seconds
