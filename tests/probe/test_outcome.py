"""The files that a probe leaves."""

import json

from autobatch.errors import UsageError
from autobatch.probe.outcome import Progress, described, write_outcome
from autobatch.verdict import Measurements


def test_progress_names_the_phase_and_beats_seldom(tmp_path):
    progress = Progress(tmp_path)
    progress.enter("build")
    written = (tmp_path / "progress.json").stat().st_ino
    for _ in range(100):
        progress.beat()

    found = json.loads((tmp_path / "progress.json").read_text())
    assert found["phase"] == "build"
    assert found["time"] > 0
    assert (tmp_path / "progress.json").stat().st_ino == written
    progress.enter("typical")
    assert json.loads((tmp_path / "progress.json").read_text())["beats"] == 100


def test_an_outcome_leaves_no_temporary_file(tmp_path):
    write_outcome(tmp_path, "typical", Measurements(step_s=0.5), {"spill": False})

    assert [path.name for path in tmp_path.iterdir()] == ["outcome.json"]
    assert json.loads((tmp_path / "outcome.json").read_text()) == {
        "status": "ok",
        "phase": "typical",
        "measurements": {"step_s": 0.5},
        "flags": {"spill": False},
    }


def test_a_chain_of_causes_is_told_nearest_first():
    top, middle = RuntimeError("top"), ValueError("middle")
    middle.__cause__ = KeyError("deep")
    top.__context__ = middle

    found = described(top)

    assert found["type"] == "RuntimeError"
    assert [link["type"] for link in found["chain"]] == ["ValueError", "KeyError"]
    assert "deep" in found["traceback"]


def test_what_to_do_is_kept():
    assert described(UsageError("what", "do this"))["do"] == "do this"
