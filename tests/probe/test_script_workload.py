import subprocess

import pytest

from autobatch.errors import UsageError
from autobatch.probe import script_workload
from autobatch.probe.script_workload import look

TRAIN = """
import torch
from pathlib import Path
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments

class Samples(torch.utils.data.Dataset):
    def __len__(self):
        return 50
    def __getitem__(self, index):
        ids = torch.arange(3 + index % 7)
        return {"input_ids": ids, "labels": ids}

out = str(Path(__file__).parent / "out")
model = GPT2LMHeadModel(GPT2Config(vocab_size=64, n_embd=16, n_layer=1, n_head=2, n_positions=64))
arguments = TrainingArguments(output_dir=out, per_device_train_batch_size=3, gradient_accumulation_steps=5,
                              learning_rate=0.125, num_train_epochs=2, bf16=True)
Trainer(model=model, args=arguments, train_dataset=Samples()).train()
"""


@pytest.fixture(autouse=True)
def forked(script_parent, monkeypatch):
    """A look from a process that has the libraries already; what it does is the same."""

    def run(path, patience_s):
        ended = script_parent.run(path, "autobatch.probe.script_look:main", patience_s)
        if ended is None:
            raise subprocess.TimeoutExpired("look", patience_s)
        return ended, (path / "log.txt").read_text()

    monkeypatch.setattr(script_workload, "_run", run)


@pytest.fixture
def script(tmp_path):
    def script(source):
        path = tmp_path / "summarise.py"
        path.write_text(source)
        return ["python", str(path)]

    return script


def test_the_workload_is_what_the_script_is_about_to_train(script, tmp_path):
    found = look(script(TRAIN), "cpu")

    workload = found.workload
    assert workload.model.name == "summarise"
    assert workload.model.family == "causal"
    assert workload.model.config["model_type"] == "gpt2"
    assert workload.model.config["n_embd"] == 16
    assert workload.model.parameters == 64 * 16 + 64 * 16 + 3312
    assert (workload.method, workload.quantization) == ("full", "none")
    assert workload.effective_batch == 15
    assert workload.train_samples == 50
    assert workload.epochs == 2
    assert (workload.lengths.source[0], workload.lengths.source[-1]) == (3, 9)
    assert workload.recipe["learning_rate"] == 0.125
    assert workload.script == ("python", str(tmp_path / "summarise.py"))
    assert found.settings["precision"] == "bf16"
    assert found.settings["dataloader_prefetch_factor"] == 2
    assert found.held["optim"] == "adamw_torch_fused"
    assert "precision" not in found.held
    assert not (tmp_path / "out").exists()
    assert type(workload).from_dict(workload.to_dict()) == workload


def test_a_loop_of_its_own_tells_its_settings(script):
    source = """
import autobatch
with autobatch.probe() as p:
    size = p.setting("per_device_train_batch_size", 6)
    steps = p.setting("gradient_accumulation_steps", 2)
    for batch in p.batches([1, 2]):
        p.step()
"""
    assert look(script(source), "cpu").workload.effective_batch == 12


def test_a_script_that_crashes_gives_its_traceback_whole(script, capsys):
    source = "def work():\n    return 1 / 0\n\nwork()\n"

    with pytest.raises(UsageError, match="fails also without autobatch"):
        look(script(source), "cpu")

    said = capsys.readouterr().err
    lines = said.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert "summarise.py" in lines[1]
    assert lines[-1] == "ZeroDivisionError: division by zero"
    assert "script_look" not in said


def test_a_script_that_never_trains_is_said(script, capsys):
    with pytest.raises(UsageError, match="never trained"):
        look(script("print('hello')\n"), "cpu")

    assert "hello" in capsys.readouterr().err


def test_a_script_that_takes_too_long_is_said(script):
    with pytest.raises(UsageError, match="had not begun to train"):
        look(script("import time\ntime.sleep(60)\n"), "cpu", patience_s=1.0)
