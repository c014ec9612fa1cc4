import json

import pytest
from click.testing import CliRunner

from autobatch.cli import root
from autobatch.errors import AutobatchError

SMALL = [
    "--model=demo",
    "--device=cpu",
    "--fix=precision=fp32",
    "--fix=gradient_checkpointing=false",
    "--fix=dataloader_num_workers=0",
    "--fix=per_device_eval_batch_size=8",
    "--search=per_device_train_batch_size=8,16",
]


def search(*options, folder):
    return CliRunner().invoke(root, ["search", *options, "--db", str(folder / "trials.db"), "--quiet"])


@pytest.mark.parametrize(
    ("options", "what"),
    [
        (["--model=kobert"], "kobert"),
        ([*SMALL, "--budget=3"], "too small for one probe"),
        ([*SMALL, "--budget=soon"], "not a duration"),
        ([*SMALL, "--gpu-memory=9999GiB"], "more than"),
        ([*SMALL, "--device=tpu"], "no device 'tpu'"),
        ([*SMALL, "--data=nowhere.jsonl"], "nowhere.jsonl"),
        ([*SMALL, "--effective-batch=7", "--devices=2"], "cannot be split"),
        ([*SMALL, "--space=nowhere.yaml"], "nowhere.yaml"),
    ],
)
def test_bad_input_is_two_lines_and_writes_nothing(options, what, tmp_path):
    result = search(*options, folder=tmp_path)
    assert isinstance(result.exception, AutobatchError)
    assert what in result.exception.what
    assert "\n" not in result.exception.what + result.exception.do
    assert result.exception.do
    assert not list(tmp_path.iterdir())


def test_a_search_runs_real_probes_and_resumes(tmp_path):
    first = search(*SMALL, "--budget=150s", "--json", folder=tmp_path)
    assert first.exit_code == 0, first.output
    answer = json.loads(first.stdout)
    chosen = answer["chosen"]["configuration"]
    assert chosen["per_device_train_batch_size"] * chosen["gradient_accumulation_steps"] == 16
    assert answer["chosen"]["measurements"]["samples_per_s"] > 0
    again = json.loads(search(*SMALL, "--budget=150s", "--json", folder=tmp_path).stdout)
    assert again["study"] == answer["study"]
    assert again["trials"] >= answer["trials"]


def test_a_database_of_another_program_is_left_alone(tmp_path):
    (tmp_path / "trials.db").write_text("something else")
    result = search(*SMALL, folder=tmp_path)
    assert isinstance(result.exception, AutobatchError)
    assert (tmp_path / "trials.db").read_text() == "something else"
