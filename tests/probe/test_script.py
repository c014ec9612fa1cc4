import pytest

TRAIN = """
import sys, torch
from pathlib import Path
from torch.utils.data import Dataset
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments, DataCollatorForSeq2Seq

HERE = Path(__file__).parent

class Samples(Dataset):
    def __len__(self):
        return 200
    def __getitem__(self, index):
        length = 60 if index == 137 else 5 + index % 7
        ids = [1 + (index + k) % 50 for k in range(length)]
        return {"input_ids": ids, "labels": ids}

def pad(samples):
    longest = max(len(s["input_ids"]) for s in samples)
    rows = [s["input_ids"] + [0] * (longest - len(s["input_ids"])) for s in samples]
    with open(HERE / "batches.txt", "a") as out:
        out.write(f"{len(rows)} {longest}\\n")
    return {"input_ids": torch.tensor(rows), "labels": torch.tensor(rows)}

model = GPT2LMHeadModel(GPT2Config(vocab_size=64, n_embd=16, n_layer=1, n_head=2, n_positions=64))
noisy = {"save_steps": 1, "save_strategy": "steps", "logging_steps": 1}
arguments = TrainingArguments(output_dir=str(HERE / "out"), per_device_train_batch_size=3,
                              gradient_accumulation_steps=5, **noisy)
"""
PLAIN = """
arguments.eval_strategy, arguments.eval_steps = "steps", 1
trainer = Trainer(model=model, args=arguments, train_dataset=Samples(), eval_dataset=Samples(), data_collator=pad)
trainer.train()
(HERE / "after.txt").write_text("reached")
"""


def made(done):
    """Samples and length of every batch of a probe, but of that by which it is told whether samples are joined."""
    _, *batches = (done.folder / "batches.txt").read_text().splitlines()
    return [tuple(map(int, line.split())) for line in batches]


def test_a_trainer_is_measured_with_the_settings_under_test(run):
    done = run(TRAIN + PLAIN)

    assert done.status == 0, done.log
    found = done.outcome["measurements"]
    assert done.outcome["status"] == "ok"
    assert found["samples_per_s"] == pytest.approx(8 / found["step_s"])
    assert found["longest_source_tokens"] == 60
    assert found["device_peak_used_bytes"] > 0
    batches = made(done)
    assert batches[0] == batches[1] < (4, 60)
    assert batches[2:4] == [(4, 60)] * 2
    assert {size for size, _ in batches} == {4}


def test_nothing_is_left_that_looks_like_a_result(run):
    saving = """
from transformers import TrainerCallback
class Save(TrainerCallback):
    def save(self, *_, **__):
        (HERE / "best.txt").write_text("a few steps")
    on_epoch_end = on_train_end = save

"""
    done = run(TRAIN + saving + PLAIN.replace("data_collator=pad", "data_collator=pad, callbacks=[Save()]"))

    assert done.outcome["status"] == "ok", done.log
    assert not (done.folder / "out").exists()
    assert not (done.folder / "after.txt").exists()
    assert not (done.folder / "best.txt").exists()
    assert not list(done.folder.rglob("checkpoint-*"))


def test_evaluation_is_of_a_few_batches(run):
    done = run(TRAIN + PLAIN, purpose="eval", per_device_eval_batch_size=10)

    batches = made(done)
    assert done.outcome["measurements"]["eval_samples_per_s"] > 0
    assert batches[4:] == [(10, 60), *batches[5:]]
    assert len(batches) == 4 + 3


def test_arguments_changed_after_they_were_made_are_laid_over_too(run):
    late = "arguments.per_device_train_batch_size = 7\n"

    done = run(TRAIN + late + PLAIN)

    assert done.outcome["status"] == "ok"
    assert {size for size, _ in made(done)} == {4}


def test_a_loader_of_its_own_that_ignores_the_arguments_is_said(run):
    own = """
class Mine(Trainer):
    def get_train_dataloader(self):
        return torch.utils.data.DataLoader(self.train_dataset, batch_size=6, collate_fn=pad)

Mine(model=model, args=arguments, train_dataset=Samples()).train()
"""
    done = run(TRAIN + own)

    assert done.status == 1
    assert done.outcome["error"]["message"] == ("The script makes batches of 6 when per_device_train_batch_size is 4.")


def test_a_loader_of_its_own_that_obeys_is_measured(run):
    own = """
class Mine(Trainer):
    def get_train_dataloader(self):
        size = self.args.per_device_train_batch_size
        return torch.utils.data.DataLoader(self.train_dataset, batch_size=size, collate_fn=pad)

Mine(model=model, args=arguments, train_dataset=Samples()).train()
"""
    done = run(TRAIN + own)

    assert done.outcome["status"] == "ok"
    assert done.outcome["flags"]["worst_case_unknown"] is True


def test_a_loader_put_on_the_trainer_itself_is_its_own_too(run):
    own = """
trainer = Trainer(model=model, args=arguments, train_dataset=Samples())
trainer.get_train_dataloader = lambda: torch.utils.data.DataLoader(Samples(), batch_size=6, collate_fn=pad)
trainer.train()
"""
    done = run(TRAIN + own)

    assert done.status == 1
    assert done.outcome["error"]["message"] == ("The script makes batches of 6 when per_device_train_batch_size is 4.")


def test_a_loader_of_its_own_needs_no_data_set(run):
    own = """
class Mine(Trainer):
    def get_train_dataloader(self):
        size = self.args.per_device_train_batch_size
        return torch.utils.data.DataLoader(Samples(), batch_size=size, collate_fn=pad)

Mine(model=model, args=arguments, train_dataset=None).train()
"""
    done = run(TRAIN + own)

    assert done.outcome["status"] == "ok", done.log
    assert done.outcome["measurements"]["longest_source_tokens"] == 60


def test_a_callback_that_needs_an_evaluation_strategy_has_it(run):
    early = """
from transformers import EarlyStoppingCallback
arguments.eval_strategy = arguments.save_strategy = "epoch"
arguments.load_best_model_at_end = True
trainer = Trainer(model=model, args=arguments, train_dataset=Samples(), eval_dataset=Samples(), data_collator=pad,
                  callbacks=[EarlyStoppingCallback(3)])
trainer.train()
"""
    done = run(TRAIN + early)

    assert done.outcome["status"] == "ok", done.log
    assert {size for size, _ in made(done)} == {4}


def test_arguments_with_an_init_of_their_own_are_laid_over(run):
    mine = """
class Mine(TrainingArguments):
    def __init__(self, **more):
        super().__init__(output_dir=str(HERE / "out"), **more)

arguments = Mine(per_device_train_batch_size=3)
arguments.per_device_train_batch_size = 7
"""
    done = run(TRAIN + mine + PLAIN)

    assert done.outcome["status"] == "ok", done.log
    assert {size for size, _ in made(done)} == {4}


@pytest.mark.parametrize("steps", [1, 3])
def test_a_training_that_a_callback_ends_before_it_is_timed_is_said(run, steps):
    stopping = f"""
from transformers import TrainerCallback
class Stop(TrainerCallback):
    def on_step_end(self, args, state, control, **_):
        control.should_training_stop = state.global_step == {steps}

Trainer(model=model, args=arguments, train_dataset=Samples(), data_collator=pad, callbacks=[Stop()]).train()
"""
    done = run(TRAIN + stopping)

    assert done.outcome["status"] == "error"
    said = f"The script ended its training after {steps} step{'s' * (steps > 1)}, before it could be timed."
    assert done.outcome["error"]["message"] == said
    assert "callback" in done.outcome["error"]["do"]


@pytest.mark.parametrize(
    ("raised", "kind"),
    [
        ("torch.OutOfMemoryError('CUDA out of memory. Tried to allocate 2 GiB')", "torch.OutOfMemoryError"),
        ("ValueError('no such thing')", "ValueError"),
    ],
)
def test_what_the_training_raised_is_told_though_the_script_catches_it(run, raised, kind):
    swallowing = f"""
class Failing(Trainer):
    def compute_loss(self, *_, **__):
        raise {raised}

try:
    Failing(model=model, args=arguments, train_dataset=Samples(), data_collator=pad).train()
except Exception as error:
    print("sorry", error)
"""
    done = run(TRAIN + swallowing)

    assert done.status == 1
    assert done.outcome["error"]["type"] == kind


@pytest.mark.parametrize(
    ("raised", "kind"), [("ValueError('no such thing')", "ValueError"), ("KeyboardInterrupt", "KeyboardInterrupt")]
)
def test_nothing_of_the_script_runs_after_a_training_that_failed(run, raised, kind):
    saving = f"""
from transformers import TrainerCallback
class Failing(Trainer):
    def compute_loss(self, *_, **__):
        raise {raised}

trainer = Failing(model=model, args=arguments, train_dataset=Samples(), data_collator=pad)
try:
    trainer.train()
except:
    (HERE / "after.txt").write_text("reached")
finally:
    trainer.save_model(HERE / "best")
"""
    done = run(TRAIN + saving)

    error = done.outcome["error"]
    assert (done.status, error["type"]) == (1, kind)
    assert error["traceback"].splitlines()[2].strip() == "trainer.train()"
    assert "raise " + raised in error["traceback"]
    assert done.outcome["flags"] == {"fails_alone": True}
    assert not (done.folder / "after.txt").exists()
    assert not (done.folder / "best").exists()


def test_what_the_library_raised_for_a_script_is_followed_to_the_script(run):
    done = run(TRAIN + "Trainer(model=model, args=arguments, train_dataset=[1, 2, 3]).train()\n")

    assert "train.py" in done.outcome["error"]["traceback"].splitlines()[1]
    assert done.outcome["flags"] == {"fails_alone": True}


@pytest.mark.parametrize(
    ("code", "said"), [("", "status 0 before it could be timed"), ("3", "exit status 3"), ("'no'", "said: no")]
)
def test_a_training_that_ends_the_script_is_said(run, code, said):
    ending = f"""
from transformers import TrainerCallback
class End(TrainerCallback):
    def on_step_end(self, *_, **__):
        sys.exit({code})

try:
    Trainer(model=model, args=arguments, train_dataset=Samples(), data_collator=pad, callbacks=[End()]).train()
finally:
    (HERE / "after.txt").write_text("reached")
"""
    done = run(TRAIN + ending)

    assert done.status == 1
    assert said in done.outcome["error"]["message"]
    assert not (done.folder / "after.txt").exists()


def test_a_stream_is_measured(run):
    stream = """
class Stream(torch.utils.data.IterableDataset):
    def __iter__(self):
        for i in range(200):
            time.sleep(0.005)
            yield Samples()[i]

Trainer(model=model, args=arguments, train_dataset=Stream(), data_collator=pad).train()
"""
    done = run("import time\n" + TRAIN + stream)

    assert done.outcome["status"] == "ok", done.log
    assert done.outcome["flags"]["worst_case_unknown"] is True
    assert done.outcome["measurements"]["step_s"] > 8 * 0.005


@pytest.mark.parametrize(("strategy", "unknown"), [("sequential", False), ("batch_rebalance", True)])
def test_samples_come_as_the_script_has_them_come(run, strategy, unknown):
    listed = """
rows = [Samples()[i] for i in range(200)]
Trainer(model=model, args=arguments, train_dataset=rows, data_collator=pad).train()
"""
    done = run(TRAIN + listed, train_sampling_strategy=strategy)

    assert done.outcome["status"] == "ok", done.log
    assert done.outcome["flags"]["worst_case_unknown"] is unknown
    assert (len({size for size, _ in made(done)}) > 1) is unknown


def test_a_longest_batch_that_is_a_guess_is_said(run):
    listed = """
rows = [{"text": "a" * i, "tokens": Samples()[i]["input_ids"]} for i in range(200)]
arguments.remove_unused_columns = False
collate = lambda samples: pad([{"input_ids": s["tokens"]} for s in samples])
Trainer(model=model, args=arguments, train_dataset=rows, data_collator=collate).train()
"""
    done = run(TRAIN + listed)

    assert done.outcome["flags"]["worst_case_unknown"] is True, done.log


def test_arguments_changed_after_the_trainer_was_made_are_laid_over_too(run):
    late = """
trainer = Trainer(model=model, args=arguments, train_dataset=Samples(), data_collator=pad)
trainer.args.gradient_accumulation_steps = 64
trainer.train()
"""
    done = run(TRAIN + late)

    assert done.outcome["status"] == "ok", done.log
    assert [length for _, length in made(done)[:4]][2:] == [60, 60]
    assert len(made(done)) < 64 * 8


def test_a_model_that_is_made_for_the_training_is_the_only_one(run):
    init = """
import gc, weakref
from transformers import TrainerCallback
alive = []
def init():
    alive.append(weakref.ref(found := GPT2LMHeadModel(model.config)))
    return found
class Count(TrainerCallback):
    def on_step_end(self, *_, **__):
        gc.collect()
        assert sum(one() is not None for one in alive) == 1

Trainer(model_init=init, args=arguments, train_dataset=Samples(), data_collator=pad, callbacks=[Count()]).train()
"""
    assert run(TRAIN + init).outcome["status"] == "ok"


def test_metrics_that_know_the_whole_evaluation_set_do_not_fail_the_probe(run):
    knowing = """
def whole(found):
    assert len(found.predictions) == 200
    return {"f1": 1.0}

class Fixed(Samples):
    def __getitem__(self, index):
        return super().__getitem__(0)

arguments.metric_for_best_model = "f1"
Trainer(model=model, args=arguments, train_dataset=Samples(), eval_dataset=Fixed(), data_collator=pad,
        compute_metrics=whole).train()
"""
    done = run(TRAIN + knowing, purpose="eval")

    assert done.outcome["status"] == "ok", done.log
    assert "compute_metrics, given a part of the evaluation set: AssertionError" in done.log


def test_a_script_that_crashes_by_itself_gives_its_whole_traceback(run):
    done = run("import json\n\ndef work():\n    json.loads('{')\n\nwork()\n")

    error = done.outcome["error"]
    assert done.status == 1
    assert error["type"] == "json.decoder.JSONDecodeError"
    assert error["traceback"].count("train.py") == 2
    assert "autobatch" not in error["traceback"].partition("It fails also")[0]
    assert "It fails also without autobatch." in error["traceback"]
    assert done.outcome["flags"] == {"fails_alone": True}


def test_a_script_that_fails_only_under_test_is_told_apart(run):
    source = TRAIN + "assert arguments.per_device_train_batch_size == 3\n" + PLAIN

    done = run(source)

    assert done.outcome["error"]["type"] == "AssertionError"
    assert done.outcome["flags"] == {"fails_alone": False}
    assert not (done.folder / "out").exists()


def test_by_itself_a_script_begins_where_it_began(run):
    moving = """
import os
assert not os.getcwd().startswith(str(HERE))
os.makedirs(HERE / "work", exist_ok=True)
os.chdir(HERE / "work")
raise ValueError
"""
    assert run(TRAIN + moving).outcome["flags"] == {"fails_alone": True}


def test_by_itself_a_script_has_its_own_arguments(run):
    own = """
assert arguments.per_device_train_batch_size == 3
arguments.load_best_model_at_end = True
arguments.eval_strategy, arguments.eval_steps = "steps", 1

class Stubborn(Trainer):
    def train(self):
        assert self.args.load_best_model_at_end and self.args.save_strategy == "steps" and self.args.max_steps == -1
        super().train()

Stubborn(model=model, args=arguments, train_dataset=Samples(), eval_dataset=Samples(), data_collator=pad).train()
"""
    done = run(TRAIN + own)

    assert done.outcome["flags"] == {"fails_alone": False}
    assert not list(done.folder.rglob("checkpoint-*"))


def test_what_a_worker_raised_is_said_by_its_own_message(run):
    source = TRAIN.replace("longest = max", "samples[0]['answers']; longest = max")

    error = run(source + PLAIN, dataloader_num_workers=1).outcome["error"]

    assert (error["type"], error["message"]) == ("KeyError", "'answers'")
    assert "Original Traceback" in error["traceback"]


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("x = 1\n", "never trained"),
        ("import sys\nsys.exit(3)\n", "exit status 3"),
        ("import sys\nsys.exit()\n", "never trained"),
        ("import sys\nsys.exit('no data.')\n", "before it trained, and said: no data."),
        ("import subprocess, sys\nsubprocess.run([sys.executable, '-c', 'pass'])\n", "never trained"),
    ],
)
def test_a_script_that_never_trains_is_said(run, source, said):
    done = run(source)

    assert done.status == 1
    assert said in done.outcome["error"]["message"]
    assert done.outcome["error"]["do"]


def test_a_script_may_train_in_a_process_that_it_forks(run):
    fork = """
import os
if os.fork() == 0:
    Trainer(model=model, args=arguments, train_dataset=Samples(), data_collator=pad).train()
    os._exit(9)
os.wait()
"""
    done = run(TRAIN + fork)

    assert done.status == 0
    assert done.outcome["status"] == "ok"
