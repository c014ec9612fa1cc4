"""What is put between a script's Trainer and what it does."""

import time
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch
from torch.utils.data import DataLoader
from transformers import Trainer, TrainerCallback
from transformers.trainer_callback import CallbackHandler

from autobatch.errors import UsageError
from autobatch.probe.recorder import Recorder
from autobatch.probe.script_observe import ScriptObserved, silence

EVALUATION_S = 0.2


class Evaluating(Trainer):
    """A Trainer whose evaluation takes a while."""

    def training_step(self, *_):
        return torch.ones(())

    def evaluate(self):
        time.sleep(EVALUATION_S)


@pytest.fixture
def observed():
    """A Trainer that a recorder watches, without a training."""
    kind = type("Observed", (ScriptObserved, Evaluating), {})
    trainer = kind.__new__(kind)
    trainer._recorder = Recorder((), 1.0)
    trainer._meter = SimpleNamespace(synchronize=lambda: None, moment=lambda: lambda: None)
    return trainer


class Told(TrainerCallback):
    def __init__(self):
        self.of = []

    def on_step_end(self, *_, **__):
        self.of.append("step")

    def on_epoch_end(self, *_, **__):
        self.of.append("epoch")

    def on_train_end(self, *_, **__):
        self.of.append("training")

    def on_log(self, *_, **__):
        self.of.append("log")


def test_a_callback_is_not_told_of_an_end_that_is_none_nor_of_its_summary():
    own = Told()
    handler = CallbackHandler([own], None, None, None, None)

    silence(SimpleNamespace(callback_handler=handler))
    for tell in (handler.on_step_end, handler.on_epoch_end, handler.on_train_end):
        tell(None, None, SimpleNamespace())
    handler.on_log(None, None, SimpleNamespace(), {"train_loss": 1.0})

    assert own.of == ["step"]


def test_an_evaluation_that_a_callback_asks_for_is_no_part_of_a_step(observed):
    recorder = observed._recorder
    recorder.begin_timing()

    observed.evaluate()
    now = time.perf_counter()
    recorder.micro_step(lambda: now)
    recorder.estimate()

    assert recorder.micro_steps[0] < EVALUATION_S / 2


@pytest.mark.parametrize(("size", "refused"), [(4, False), (8, True)])
def test_what_a_loader_says_of_its_batches_counts_before_what_they_hold(observed, size, refused):
    loader = DataLoader([1.0] * 16, batch_size=size, collate_fn=lambda _: torch.ones(16))
    observed.callback_handler = SimpleNamespace(train_dataloader=loader)
    observed._checked_batch = 4

    with pytest.raises(UsageError, match="makes batches of 16") if refused else nullcontext():
        observed.training_step(None, torch.ones(16))

    assert observed._checked_batch is None
