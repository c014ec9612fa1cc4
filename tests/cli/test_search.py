import json

import pytest
from click.testing import CliRunner

from autobatch.cli import root
from autobatch.daemon import control
from autobatch.errors import AutobatchError, UsageError

SMALL = [
    "--device=cpu",
    "--fix=precision=fp32",
    "--fix=gradient_checkpointing=false",
    "--fix=dataloader_num_workers=0",
    "--fix=per_device_eval_batch_size=8",
    "--search=per_device_train_batch_size=8,16",
]
DEMO = ["--model=demo", *SMALL]
SHAPE = {
    "model_type": "gpt2",
    "architectures": ["GPT2LMHeadModel"],
    "vocab_size": 64,
    "n_embd": 16,
    "n_layer": 1,
    "n_head": 2,
    "n_positions": 64,
}
SCRIPT = """
import sys, torch
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments

class Samples(torch.utils.data.Dataset):
    def __len__(self):
        return 60
    def __getitem__(self, index):
        ids = torch.arange(4 + index % 5)
        return {"input_ids": ids, "labels": ids}

model = GPT2LMHeadModel(GPT2Config(vocab_size=64, n_embd=16, n_layer=1, n_head=2, n_positions=64))
arguments = TrainingArguments(output_dir="out", per_device_train_batch_size=4, optim="adafactor",
                              gradient_accumulation_steps=int(sys.argv[1]), report_to="none")

def pad(rows):
    ids = torch.nn.utils.rnn.pad_sequence([row["input_ids"] for row in rows], batch_first=True)
    return {"input_ids": ids, "labels": ids}

Trainer(model=model, args=arguments, train_dataset=Samples(), data_collator=pad).train()
"""
LOOP = """
import autobatch
with autobatch.probe() as p:
    size = p.setting("per_device_train_batch_size", 4)
    for batch in p.batches([1, 2]):
        p.step()
"""


def search(*options, folder, script=()):
    words = ["search", *options, "--db", str(folder / "trials.db"), "--quiet", *(["--", *script] if script else [])]
    return CliRunner().invoke(root, words)


@pytest.fixture
def write(tmp_path):
    def write(source):
        path = tmp_path / "train.py"
        path.write_text(source)
        return ["python", str(path)]

    return write


@pytest.mark.parametrize(
    ("options", "what"),
    [
        (SMALL, "neither a model nor a script"),
        (["--model=kobert"], "kobert"),
        ([*DEMO, "--budget=3"], "too small for one probe"),
        ([*DEMO, "--on-done=true"], "--on-done"),
        ([*DEMO, "--budget=soon"], "not a duration"),
        ([*DEMO, "--gpu-memory=9999GiB"], "more than"),
        ([*DEMO, "--device=tpu"], "no device 'tpu'"),
        ([*DEMO, "--data=nowhere.jsonl"], "nowhere.jsonl"),
        ([*DEMO, "--effective-batch=7", "--devices=2"], "cannot be split"),
        ([*DEMO, "--space=nowhere.yaml"], "nowhere.yaml"),
        ([*DEMO, "--effective-batch=100000000"], "larger than the 5,500 training samples"),
        ([*DEMO, "--effective-batch=99999999999999999999999"], "larger than the 5,500 training samples"),
        ([*DEMO, "--fix=optim=nonsense"], "optim cannot be 'nonsense'"),
        ([*DEMO, "--search=optim="], "optim cannot be ''"),
        ([*DEMO, "--fix=attn_implementation=nonsense"], "attn_implementation cannot be 'nonsense'"),
        ([*DEMO, "--fix=attn_implementation=flash_attention_2"], "needs a GPU"),
        ([*DEMO, "--search=use_liger_kernel"], "needs a GPU"),
        ([*DEMO, "--fix=precision=tf32"], "precision=tf32"),
        ([*DEMO, "--fix=dataloader_num_workers=100000"], "workers a core"),
        ([*DEMO, "--text-column=dialogue"], "--text-column names a column"),
        ([*DEMO, f"--study={'x' * 600}"], "no name of a study"),
    ],
)
def test_bad_input_is_two_lines_and_writes_nothing(options, what, tmp_path):
    result = search(*options, folder=tmp_path)
    assert isinstance(result.exception, AutobatchError)
    assert what in result.exception.what
    assert "\n" not in result.exception.what + result.exception.do
    assert result.exception.do
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "what"),
    [
        (["--model=demo"], "trains its own model"),
        (["--data=x.jsonl"], "--data says nothing"),
        (["--epochs=2"], "--epochs says nothing"),
    ],
)
def test_options_that_a_script_has_itself_are_refused(options, what, tmp_path, write):
    result = search(*options, "--device=cpu", folder=tmp_path, script=write(SCRIPT))

    assert isinstance(result.exception, UsageError)
    assert what in result.exception.what


def test_a_queued_search_is_told_for_scripts_too(tmp_path, monkeypatch):
    monkeypatch.setattr(control, "start", lambda _: None)
    entry = json.loads(search(*DEMO, "--detach", "--json", folder=tmp_path).stdout)
    assert (entry["search"], entry["model"], entry["state"], entry["budget_s"]) == (1, "demo", "queued", 1800.0)
    assert search(*DEMO, "--detach", folder=tmp_path).stdout.startswith("Queued as search 2: ")


def test_a_search_runs_real_probes_and_resumes(tmp_path):
    model = tmp_path / "tiny"
    model.mkdir()
    (model / "config.json").write_text(json.dumps(SHAPE))
    asked = [f"--model={model}", *SMALL, "--effective-batch=16", "--json"]

    first = search(*asked, "--budget=100s", folder=tmp_path)

    assert first.exit_code == 0, first.output
    answer = json.loads(first.stdout)
    chosen = answer["chosen"]["configuration"]
    assert chosen["per_device_train_batch_size"] * chosen["gradient_accumulation_steps"] == 16
    assert answer["chosen"]["measurements"]["samples_per_s"] > 0
    again = json.loads(search(*asked, "--budget=20s", folder=tmp_path).stdout)
    assert again["study"] == answer["study"]
    assert again["trials"] >= answer["trials"]


def test_a_script_is_searched_as_it_is(tmp_path, write, monkeypatch):
    monkeypatch.chdir(tmp_path)

    done = search(
        *SMALL[:4],
        "--search=per_device_train_batch_size=4,8",
        "--json",
        "--budget=100s",
        "--profile=medium",
        folder=tmp_path,
        script=[*write(SCRIPT), "6"],
    )

    assert done.exit_code == 0, done.output
    answer = json.loads(done.stdout)
    chosen = answer["chosen"]["configuration"]
    assert chosen["per_device_train_batch_size"] * chosen["gradient_accumulation_steps"] == 8
    assert chosen["optim"] == "adafactor"
    assert answer["workload"]["recipe_batch"] == 24
    assert answer["workload"]["script"][-1] == "6"
    assert answer["study"].startswith("train-cpu-")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "what"),
    [
        (["--fix=optim=adafactor"], "does not take optim"),
        (["--search=attn_implementation"], "does not take attn_implementation"),
        ([], "does not tell its effective batch"),
        (["--effective-batch=8"], "never asks for gradient_accumulation_steps"),
    ],
)
def test_what_a_loop_lacks_is_said(options, what, tmp_path, write, monkeypatch):
    from autobatch.job import script
    from autobatch.probe.script_workload import Found
    from autobatch.workload.spec import Model, Workload

    seen = Found(Workload(Model("l", "l", "causal"), effective_batch=None), {"per_device_train_batch_size": 4})
    monkeypatch.setattr(script, "look", lambda *_: seen)

    result = search(*options, "--device=cpu", folder=tmp_path, script=write(LOOP))

    assert isinstance(result.exception, UsageError)
    assert what in result.exception.what


def test_a_database_of_another_program_is_left_alone(tmp_path):
    (tmp_path / "trials.db").write_text("something else")
    result = search(*DEMO, folder=tmp_path)
    assert isinstance(result.exception, AutobatchError)
    assert (tmp_path / "trials.db").read_text() == "something else"
