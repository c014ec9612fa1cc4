from __future__ import annotations

import json
import math

import pytest

from autobatch.isolation.evidence import Evidence, difference, read_counters, read_outcome, read_tail
from autobatch.machine import cgroups


def test_a_whole_outcome_is_read(tmp_path):
    (tmp_path / "outcome.json").write_text('{"status": "ok", "measurements": {"loss": NaN}}')
    assert math.isnan(read_outcome(tmp_path)["measurements"]["loss"])


@pytest.mark.parametrize(
    "text", ["", "{", '{"status": "ok", ', "[]", "null", '{"status": "fine"}', "\x00\xff", "[" * 100_000]
)
def test_anything_else_is_no_outcome(tmp_path, text):
    (tmp_path / "outcome.json").write_text(text, encoding="latin-1")
    assert read_outcome(tmp_path) is None


@pytest.mark.parametrize(
    "odd",
    [
        {"measurements": None},
        {"measurements": []},
        {"measurements": {"loss": "much"}},
        {"measurements": {"device_peak_used_bytes": [1]}},
        {"measurements": {"startup_s": {"fork": "soon"}}},
        {"measurements": {"startup_s": 3}},
        {"flags": "spill"},
    ],
)
def test_figures_of_the_wrong_type_are_no_outcome(tmp_path, odd):
    (tmp_path / "outcome.json").write_text(json.dumps({"status": "ok", **odd}))
    assert read_outcome(tmp_path) is None


def test_a_missing_or_endless_outcome_is_none(tmp_path):
    assert read_outcome(tmp_path) is None
    with (tmp_path / "outcome.json").open("wb") as file:
        file.truncate(1 << 30)
    assert read_outcome(tmp_path) is None


def test_the_tail_of_a_log_is_kept(tmp_path):
    (tmp_path / "log.txt").write_bytes(b"x" * 100_000 + b"\xff the end")
    tail = read_tail(tmp_path / "log.txt", 20)
    assert tail.endswith("the end")
    assert len(tail) == 20
    assert read_tail(tmp_path / "none") == ""


def test_counters_are_told_by_how_far_they_rose():
    before, after = {"vmstat.oom_kill": 3, "ancestor.max": 1}, {"vmstat.oom_kill": 5, "ancestor.max": 1, "new": 2}
    assert difference(before, after, 2) == {"vmstat.oom_kill": 2, "ancestor.max": 0, "new": 2}
    assert difference(before, after, 1)["ancestor.max"] == 1


def test_the_machines_own_counters_are_there():
    assert read_counters(cgroups.read())["vmstat.oom_kill"] >= 0


def test_evidence_is_json_and_leaves_the_unknown_out():
    error = {"type": "ValueError", "message": "m", "traceback": "t", "chain": [{"type": "KeyError", "message": "k"}]}
    evidence = Evidence(returncode=-9, outcome={"status": "error", "error": error}, counters={"a": 0, "b": 1})
    facts = json.loads(json.dumps(evidence.to_dict()))
    assert facts["signal"] == "SIGKILL"
    assert facts["exception"]["traceback"] == "t"
    assert facts["counters"] == {"b": 1}
    assert "host_peak_bytes" not in facts
    assert evidence.exceptions == [("ValueError", "m"), ("KeyError", "k")]


@pytest.mark.parametrize("error", [None, "text", [], {"chain": None}])
def test_an_odd_error_is_no_exception_to_trust(error):
    assert Evidence(outcome={"status": "error", "error": error}).exceptions in ([], [("", "")])
