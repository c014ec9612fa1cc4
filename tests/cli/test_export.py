import json
from dataclasses import asdict

import optuna
import pytest
import yaml
from click.testing import CliRunner

from autobatch import attributes, load
from autobatch.cli.export import command
from autobatch.errors import DatabaseError, MachineError, NothingFeasibleError, UsageError
from autobatch.export.targets import NAMES
from autobatch.request import Limits
from autobatch.settings import Configuration
from autobatch.workload.spec import Model, Workload

CONFIGURATION = Configuration(per_device_train_batch_size=4, gradient_accumulation_steps=4, precision="bf16")
CHOSEN = {
    "configuration": CONFIGURATION.to_dict(),
    "measurements": {"step_s": 0.25, "samples_per_s": 64.0},
    "trial": 3,
    "confirmed": True,
}


def make_database(folder, answer):
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    path = folder / "trials.db"
    study = optuna.create_study(study_name="toy", storage=f"sqlite:///{path}", direction="maximize")
    workload = Workload(Model("toy", "toy/toy", "causal", {"model_type": "gpt2"}))
    study.set_user_attr(attributes.WORKLOAD, json.dumps(workload.to_dict()))
    study.set_user_attr(attributes.LIMITS, json.dumps(asdict(Limits(device_bytes=2**34))))
    study.set_user_attr(attributes.MACHINE, json.dumps({"device": "cpu"}))
    if answer is not None:
        study.set_user_attr(attributes.ANSWER, json.dumps(answer))
    return path


@pytest.fixture
def database(tmp_path):
    return make_database(tmp_path, {"chosen": CHOSEN})


def run(*arguments):
    result = CliRunner().invoke(command, [str(a) for a in arguments], catch_exceptions=True)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_the_answer_of_the_study_is_frozen(tmp_path, database):
    result = run(tmp_path / "best.yaml", "--db", database)

    frozen = load(tmp_path / "best.yaml")
    assert result.exit_code == 0
    assert "0.25 s/step" in result.output
    assert frozen.configuration == CONFIGURATION
    assert frozen.chosen.study == "toy"
    assert frozen.chosen.trial == 3
    assert frozen.chosen.limits.device_bytes == 2**34
    assert frozen.arguments["use_cpu"] is True


@pytest.mark.parametrize("target", NAMES)
def test_every_format_is_written(tmp_path, database, target):
    run(tmp_path / "best", "--db", database, "--format", target, "--study", "toy")

    assert load(tmp_path / "best").configuration == CONFIGURATION


def test_a_file_of_the_users_takes_the_tuned_keys(tmp_path, database):
    mine = tmp_path / "mine.yaml"
    mine.write_text("per_device_train_batch_size: 99  # mine\nmodel: toy\n")

    result = run("--into", mine, "--db", database)

    assert "-per_device_train_batch_size: 99  # mine" in result.output
    assert mine.read_text().startswith("per_device_train_batch_size: 4  # mine\n")
    assert yaml.safe_load(mine.read_text())["model"] == "toy"


def test_what_could_not_be_written_is_not_said_to_be(tmp_path, database, monkeypatch):
    mine = tmp_path / "mine.yaml"
    mine.write_text("bf16: false\n")
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))

    result = CliRunner().invoke(command, ["--into", str(mine), "--db", str(database)])

    assert isinstance(result.exception, MachineError)
    assert result.output == ""


def test_a_dry_run_writes_nothing(tmp_path, database):
    mine = tmp_path / "mine.yaml"
    mine.write_text("bf16: false\n")

    result = run(tmp_path / "best.yaml", "--into", mine, "--db", database, "--dry-run")

    assert "+bf16: true" in result.output
    assert mine.read_text() == "bf16: false\n"
    assert not (tmp_path / "best.yaml").exists()


@pytest.mark.parametrize("first", [["best.yaml"], []])
def test_the_environment_is_said_once(tmp_path, database, monkeypatch, first):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text("bf16: false\n")

    result = run(*first, "--into", "mine.yaml", "--db", database)

    assert result.output.count("Measured with these environment variables") == 1


def test_nothing_is_written_when_the_merge_cannot_be_made(tmp_path, database):
    mine = tmp_path / "mine.yaml"
    mine.write_text("- 1\n")

    with pytest.raises(UsageError, match="no mapping"):
        run(tmp_path / "best.yaml", "--into", mine, "--db", database)

    assert not (tmp_path / "best.yaml").exists()


def test_a_format_without_yaml_is_not_merged(tmp_path, database):
    with pytest.raises(UsageError, match="not YAML"):
        run("--into", tmp_path / "mine.yaml", "--db", database, "--format", "env")


def test_without_a_file_nothing_is_asked_of_the_database(tmp_path):
    with pytest.raises(UsageError, match="nothing to write to"):
        run("--db", tmp_path / "none.db")


@pytest.mark.parametrize(
    ("answer", "kind", "said"),
    [
        (None, UsageError, "no answer yet"),
        ({"chosen": None}, NothingFeasibleError, "nothing that fits"),
        ({"chosen": {"configuration": {"no_such_setting": 1}}}, DatabaseError, "cannot be read"),
    ],
)
def test_a_study_without_an_answer_is_said(tmp_path, answer, kind, said):
    database = make_database(tmp_path, answer)

    with pytest.raises(kind, match=said):
        run(tmp_path / "best.yaml", "--db", database)

    assert not (tmp_path / "best.yaml").exists()


def test_an_unknown_study_or_database_is_said(tmp_path, database):
    with pytest.raises(UsageError, match="no study 'other'"):
        run(tmp_path / "best.yaml", "--db", database, "--study", "other")
    with pytest.raises(DatabaseError, match="no database"):
        run(tmp_path / "best.yaml", "--db", tmp_path / "none.db")


def test_a_dry_run_without_into_is_refused(tmp_path, database):
    with pytest.raises(UsageError, match="there is no --into"):
        run(tmp_path / "best.yaml", "--db", database, "--dry-run")

    assert not (tmp_path / "best.yaml").exists()


def test_a_write_protected_file_is_shown_and_not_written(tmp_path, database):
    mine = tmp_path / "mine.yaml"
    mine.write_text("bf16: false\n")
    mine.chmod(0o444)

    shown = run("--into", mine, "--db", database, "--dry-run")
    with pytest.raises(UsageError, match="write-protected"):
        run(tmp_path / "best.yaml", "--into", mine, "--db", database)

    assert "+bf16: true" in shown.output
    assert mine.read_text() == "bf16: false\n"
    assert not (tmp_path / "best.yaml").exists()


@pytest.mark.parametrize("name", [".", "/"])
def test_a_folder_is_no_file_to_write(database, name):
    with pytest.raises(UsageError, match="is a folder"):
        run(name, "--db", database)
