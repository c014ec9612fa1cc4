import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from contextlib import closing
from pathlib import Path

import optuna
import pytest
from click.testing import CliRunner

from autobatch.cli import root
from autobatch.errors import UsageError
from autobatch.store import open_storage

sys.path.insert(0, str(Path(__file__).parent.parent / "review"))
import recorded

pytest.importorskip("optuna_dashboard", reason="the dashboard extra is not installed")
from optuna_dashboard import get_note, save_note


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "trials.db"
    recorded.make(path)
    return path


def prepare(path: Path) -> optuna.Study:
    result = CliRunner().invoke(root, ["dashboard", "--db", str(path), "--prepare-only"], catch_exceptions=False)
    assert result.exit_code == 0
    return optuna.load_study(study_name=recorded.STUDY, storage=recorded.storage(path))


def notes(study: optuna.Study) -> str:
    return json.dumps(study._storage.get_study_system_attrs(study._study_id), ensure_ascii=False)


def test_study_and_trials_get_notes_and_figures(path):
    study = prepare(path)
    assert "Chosen: micro-batch 8 x accumulation 2" in get_note(study)
    kept = notes(study)
    assert "Training does not fit on the card" in kept
    for figure in ("memory", "throughput", "loader-wait", "loader-memory", "time-line", "pareto"):
        assert f"dashboard:plot_data:autobatch-{figure}:0" in kept
    assert study.metric_names == ["samples/s"]


def test_trials_are_left_as_they_were_and_the_best_is_feasible(path):
    before = optuna.load_study(study_name=recorded.STUDY, storage=recorded.storage(path)).trials
    study = prepare(path)
    assert study.trials == before
    assert study._storage.get_best_trial(study._study_id).user_attrs["verdict"] == "ok"  # as the dashboard asks


def test_studies_of_others_are_left_as_they_are(path):
    storage = recorded.storage(path)
    theirs = optuna.create_study(storage=storage, study_name="theirs", directions=["minimize", "maximize"])
    theirs.add_trial(optuna.trial.create_trial(values=[1.0, 2.0]))
    assert "Chosen:" in get_note(prepare(path))
    study = optuna.load_study(study_name="theirs", storage=recorded.storage(path))
    assert (study.metric_names, get_note(study)) == (None, "")


def test_a_database_without_a_search_of_ours_is_not_written(tmp_path):
    storage = recorded.storage(tmp_path / "theirs.db")
    optuna.create_study(storage=storage, study_name="theirs", directions=["minimize", "maximize"])
    storage.engine.dispose()
    before = (tmp_path / "theirs.db").read_bytes()
    prepared = CliRunner().invoke(root, ["dashboard", "--db", str(tmp_path / "theirs.db"), "--prepare-only"])
    assert "Prepared 0 studies" in prepared.stderr
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == {"theirs.db": before}


def test_a_persons_note_is_kept_and_ours_is_not_written_twice(path):
    study = prepare(path)
    save_note(study, "my own words")
    version = study._storage.get_study_system_attrs(study._study_id)["dashboard:1:note_ver"]
    study = prepare(path)
    assert get_note(study) == "my own words"
    assert study._storage.get_study_system_attrs(study._study_id)["dashboard:1:note_ver"] == version


def test_the_dashboard_serves_the_study_until_interrupted(path):
    command = [sys.executable, "-m", "autobatch", "dashboard", "--db", str(path), "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        line = next(line for line in process.stderr if "The dashboard is at" in line)
        address = line.split("at ")[1].split(" ")[0]
        with urllib.request.urlopen(address + "api/studies/1", timeout=30) as answer:
            served = json.load(answer)
        os.kill(process.pid, signal.SIGINT)
        assert process.wait(15) == 0
    assert served["best_trials"][0]["number"] == 9
    assert len(served["plotly_graph_objects"]) == 6
    assert all(trial["note"]["body"] for trial in served["trials"])


def test_a_taken_port_is_said(path):
    open_storage(path).engine.dispose()
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match="cannot listen"):
            CliRunner().invoke(root, ["dashboard", "--db", str(path), "--port", str(port)], catch_exceptions=False)


def test_a_missing_extra_is_one_line_to_install(path, monkeypatch):
    def find(name: str, package: str | None = None) -> object:
        return None if name == "plotly" else present(name, package)

    present = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", find)
    with pytest.raises(UsageError, match="plotly cannot be found") as caught:
        CliRunner().invoke(root, ["dashboard", "--db", str(path)], catch_exceptions=False)
    assert "pip install 'autobatch[dashboard]'" in caught.value.do
