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

    def run(_, path, patience_s):
        ended = script_parent.run(path, "autobatch.probe.script_look:main", patience_s)
        if ended is None:
            raise subprocess.TimeoutExpired("look", patience_s)
        return ended

    monkeypatch.setattr(script_workload, "run", run)


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
    assert workload.taken is None
    assert type(workload).from_dict(workload.to_dict()) == workload


def test_an_optimizer_of_its_own_is_no_setting(script):
    own = "optimizers=(torch.optim.SGD(model.parameters(), lr=0.1), None), train_dataset"

    found = look(script(TRAIN.replace("train_dataset", own)), "cpu")

    assert "optim" not in found.settings
    assert found.unasked == {"optim": "adamw_torch_fused"}


def test_data_without_samples_are_said(script, capsys):
    with pytest.raises(UsageError, match="training data set is empty"):
        look(script(TRAIN.replace("return 50", "return 0")), "cpu")

    assert "Traceback" not in capsys.readouterr().err


def test_a_loop_whose_loader_makes_batches_of_another_size_is_refused(script):
    source = """
import autobatch
from torch.utils.data import DataLoader
with autobatch.probe() as p:
    p.setting("per_device_train_batch_size", 6)
    for batch in p.batches(DataLoader([1, 2], batch_size=2)):
        p.step()
"""
    with pytest.raises(UsageError, match="makes batches of 2 when per_device_train_batch_size is 6"):
        look(script(source), "cpu")


def test_a_loop_of_its_own_tells_its_settings(script):
    source = """
import autobatch
with autobatch.probe() as p:
    size = p.setting("per_device_train_batch_size", 6)
    steps = p.setting("gradient_accumulation_steps", 2)
    for batch in p.batches([1, 2]):
        p.step()
"""
    workload = look(script(source), "cpu").workload

    assert workload.effective_batch == 12
    assert workload.taken == ("per_device_train_batch_size", "gradient_accumulation_steps")


def test_what_a_loop_made_its_loader_with_is_known(script):
    source = """
import autobatch
from torch.utils.data import DataLoader
with autobatch.probe() as p:
    p.setting("per_device_train_batch_size", 6)
    for batch in p.batches(DataLoader([1, 2], batch_size=6, num_workers=1)):
        p.step()
"""
    found = look(script(source), "cpu")

    assert found.unasked == {
        "dataloader_num_workers": 1,
        "dataloader_prefetch_factor": 2,
        "dataloader_pin_memory": False,
    }
    assert "dataloader_num_workers" not in found.settings


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


def test_a_traceback_has_its_causes_and_all_its_lines(script, capsys):
    source = """
def deep(n):
    if n == 0:
        raise KeyError("the real cause")
    other(n - 1)

def other(n):
    deep(n)

try:
    deep(40)
except KeyError as error:
    raise RuntimeError("could not load") from error
"""
    with pytest.raises(UsageError, match="fails also without autobatch"):
        look(script(source), "cpu")

    said = capsys.readouterr().err
    assert said.startswith("Traceback (most recent call last):\n")
    assert "KeyError: 'the real cause'" in said
    assert said.endswith("RuntimeError: could not load\n")
    assert said.count("in other") == 40
    assert "autobatch" not in said


def test_what_libraries_say_before_the_script_begins_is_not_its_word(script, capsys, monkeypatch):
    def run(module, path, patience_s):
        (path / "log.txt").write_text("Failed to load CPU gemm\n")
        return ran(module, path, patience_s)

    ran = script_workload.run
    monkeypatch.setattr(script_workload, "run", run)
    with pytest.raises(UsageError, match="never trained"):
        look(script("print('hello')\n"), "cpu")

    assert capsys.readouterr().err == "hello\n"


@pytest.mark.parametrize("read", ["input('sure? ')", "import sys, json; json.load(sys.stdin)"])
def test_a_script_that_asks_is_told_apart(script, capsys, read):
    with pytest.raises(UsageError, match="reads from standard input"):
        look(script(read), "cpu")

    assert "Error" in capsys.readouterr().err


@pytest.mark.parametrize(
    "own",
    [
        "class Mine(Trainer):\n    get_train_dataloader = lambda self: LOADER\n",
        (
            "def Mine(**options):\n    made = Trainer(**options)\n"
            "    made.get_train_dataloader = lambda: LOADER\n    return made\n"
        ),
    ],
)
def test_a_loader_that_makes_batches_of_another_size_is_refused(script, own):
    above, _, below = TRAIN.partition("Trainer(model")
    loader = "LOADER = torch.utils.data.DataLoader(Samples(), batch_size=1)\n"

    with pytest.raises(UsageError, match="makes batches of 1 when per_device_train_batch_size is 3"):
        look(script(above + loader + own + "Mine(model" + below), "cpu")


def test_a_loader_of_its_own_needs_no_data_set(script):
    above, _, _ = TRAIN.partition("Trainer(model")
    own = """
class Mine(Trainer):
    def get_train_dataloader(self):
        return torch.utils.data.DataLoader(Samples(), batch_size=self.args.per_device_train_batch_size,
                                           collate_fn=lambda rows: {"input_ids": torch.ones(len(rows), 4)})

Mine(model=model, args=arguments, train_dataset=None).train()
"""
    assert look(script(above + own), "cpu").workload.train_samples == 50


@pytest.mark.parametrize(
    ("data", "samples", "epochs"),
    [("Samples()", 50, 1.2), ("Endless()", 60, 1.0)],
)
def test_steps_that_the_script_counts_are_its_length(script, data, samples, epochs):
    endless = """
class Endless(torch.utils.data.IterableDataset):
    def __iter__(self):
        while True:
            yield Samples()[0]
arguments.max_steps = 4
"""
    above, _, _ = TRAIN.partition("Trainer(model")

    workload = look(
        script(above + endless + f"Trainer(model=model, args=arguments, train_dataset={data}).train()\n"), "cpu"
    ).workload

    assert (workload.train_samples, workload.epochs) == (samples, epochs)


def test_a_script_whose_data_cannot_be_read_is_not_said_to_fail_by_itself(script, capsys):
    source = TRAIN.replace("        ids = torch.arange", "        raise LookupError(index)\n        ids = torch.arange")

    with pytest.raises(UsageError, match="What the script trains cannot be told: LookupError"):
        look(script(source), "cpu")

    assert "Traceback" in capsys.readouterr().err


def test_a_script_that_never_trains_is_said(script, capsys):
    with pytest.raises(UsageError, match="never trained"):
        look(script("print('hello')\n"), "cpu")

    assert "hello" in capsys.readouterr().err


def test_a_script_that_takes_too_long_is_said(script):
    with pytest.raises(UsageError, match="had not begun to train"):
        look(script("import time\ntime.sleep(60)\n"), "cpu", patience_s=1.0)


def test_the_order_of_its_samples_is_the_scripts(script):
    ordered = TRAIN.replace("bf16=True", 'train_sampling_strategy="sequential"')

    assert look(script(ordered), "cpu").held["train_sampling_strategy"] == "sequential"


@pytest.mark.parametrize(
    ("is_there", "said"),
    [(True, "looks into its output_dir, which is an empty folder in a search: FileNotFound"), (False, "fails also")],
)
def test_a_script_that_looks_into_its_output_is_told_that_it_is_empty(script, tmp_path, is_there, said):
    if is_there:
        (tmp_path / "out").mkdir()
    reads = "open(arguments.output_dir + '/vocabulary.txt')\nTrainer("

    with pytest.raises(UsageError, match=said):
        look(script(TRAIN.replace("Trainer(", reads)), "cpu")
