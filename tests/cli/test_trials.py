import csv
import io
import json
import subprocess
import sys

import pytest
import recorded
from click.testing import CliRunner

from autobatch.cli import root
from autobatch.errors import UsageError
from autobatch.review import columns
from autobatch.store.database import Database


def run(*arguments: object) -> str:
    result = CliRunner().invoke(root, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_studies(path):
    assert "llama-3.2-korean-3b on 24 GiB" in run("studies", "--db", path)
    (study,) = json.loads(run("studies", "--db", path, "--json"))
    assert (study["study"], study["trials"], study["running"]) == (recorded.STUDY, 10, 0)
    assert study["best_samples_per_s"] == pytest.approx(16 / 1.32)
    (row,) = csv.DictReader(io.StringIO(run("studies", "--db", path, "--csv")))
    assert row["model"] == "llama-3.2-korean-3b"


def test_trials_as_a_table(path):
    table = run("trials", "--db", path)
    assert "micro-batch 8 x 2, lora, bf16, gradient checkpointing, 2 workers" in table
    assert "cuda_oom_train" in table
    assert "Training does not fit on the card" in table


@pytest.mark.parametrize(
    ("purpose", "said"),
    [
        ("inference", " bf16, 2 workers, eval batch 16 "),
        ("eval", " micro-batch 8 x 2, lora, bf16, gradient checkpointing, 2 workers, eval batch 16 "),
        ("probe", " micro-batch 8 x 2, lora, bf16, gradient checkpointing, 2 workers  "),
    ],
)
def test_what_evaluation_was_measured_for_is_in_the_table(tmp_path, purpose, said):
    study = recorded.make(tmp_path / "new.db")
    trial = study.trials[4]
    trial.params = {**trial.params, "per_device_eval_batch_size": 16}
    trial.user_attrs = {**trial.user_attrs, "purpose": purpose, "stage": purpose}
    study.add_trial(trial)
    first = run("trials", "--db", tmp_path / "new.db", "--limit", 1).splitlines()[-1]
    assert said in first


def test_trials_as_data_agree_with_each_other(path):
    as_json = json.loads(run("trials", "--db", path, "--json"))
    as_csv = list(csv.DictReader(io.StringIO(run("trials", "--db", path, "--csv"))))
    assert [str(trial["trial"]) for trial in as_json] == [row["trial"] for row in as_csv]
    for trial, row in zip(as_json, as_csv, strict=True):
        assert row["per_device_train_batch_size"] == str(trial["settings"]["per_device_train_batch_size"])
        assert row["samples_per_s"] == ("" if trial["samples_per_s"] is None else str(trial["samples_per_s"]))


def test_failed_and_limit(path):
    failed = json.loads(run("trials", "--db", path, "--failed", "--json"))
    assert [trial["trial"] for trial in failed] == [8, 5, 2, 1]
    assert len(json.loads(run("trials", "--db", path, "--json", "--limit", 2))) == 2
    assert len(json.loads(run("trials", "--db", path, "--json", "--limit", 0))) == 10


def test_a_limit_beyond_any_number_of_trials_shows_all(path):
    for command, many in (("trials", 10), ("studies", 1)):
        assert len(json.loads(run(command, "--db", path, "--json", "--limit", 2**64))) == many


def test_a_long_table_says_that_there_is_more(path, monkeypatch):
    monkeypatch.setattr(columns, "TABLE_ROWS", 4)
    result = CliRunner().invoke(root, ["trials", "--db", str(path)])
    assert result.stdout.count("\n") == 2 + 4
    assert "The newest 4 are shown: --limit 0 shows all." in result.stderr


def test_nothing_failed_is_an_empty_list(tmp_path):
    recorded.storage(tmp_path / "new.db").create_new_study(
        directions=[recorded.optuna.study.StudyDirection.MAXIMIZE], study_name="new"
    )
    assert json.loads(run("trials", "--db", tmp_path / "new.db", "--json")) == []


def test_a_database_that_no_search_has_worked_on_holds_no_study(tmp_path):
    Database(tmp_path / "new.db").close()  # as `daemon start` leaves it
    assert json.loads(run("studies", "--db", tmp_path / "new.db", "--json")) == []
    with pytest.raises(UsageError, match="holds no study"):
        run("trials", "--db", tmp_path / "new.db")


def test_show(path):
    assert "over_limit" in run("show", 2, "--db", path)
    assert json.loads(run("show", 2, "--db", path, "--json"))["verdict"] == "over_limit"


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_any_encoding_of_the_terminal_is_survived(tmp_path, encoding):
    path = tmp_path / "trials.db"
    recorded.make(path, "한국어 요약")
    for arguments in (["studies"], ["trials"], ["trials", "--json"], ["show", "0"], ["report"]):
        done = subprocess.run(
            [sys.executable, "-m", "autobatch", *arguments, "--db", str(path)],
            env={"PYTHONIOENCODING": encoding, "PATH": "/usr/bin:/bin"},
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        done.stdout.decode(encoding)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["studies", "--db", "none.db"], 4, "There is no database"),
        (["trials", "--db", "{path}", "--study", "another"], 2, "There is no study 'another'"),
        (["show", "99", "--db", "{path}"], 2, "has no trial 99"),
        (["show", str(2**64), "--db", "{path}"], 2, f"has no trial {2**64}"),
        (["trials", "--db", "{path}", "--csv", "--json"], 2, "--json and --csv were given together"),
        (["studies", "--db", "{path}", "--json", "--csv"], 2, "--json and --csv were given together"),
    ],
)
def test_bad_input_is_two_lines_and_an_exit_code(path, arguments, code, said):
    command = [sys.executable, "-m", "autobatch", *(argument.format(path=path) for argument in arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert done.stdout == ""
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 2
