"""What is put between a script's Trainer and what it does."""

from types import SimpleNamespace

from transformers import TrainerCallback
from transformers.trainer_callback import CallbackHandler

from autobatch.probe.script_observe import silence


class Told(TrainerCallback):
    def __init__(self):
        self.of = []

    def on_step_end(self, *_, **__):
        self.of.append("step")

    def on_epoch_end(self, *_, **__):
        self.of.append("epoch")

    def on_train_end(self, *_, **__):
        self.of.append("training")


def test_a_callback_is_not_told_of_an_end_that_is_none():
    own = Told()
    handler = CallbackHandler([own], None, None, None, None)

    silence(SimpleNamespace(callback_handler=handler))
    for tell in (handler.on_step_end, handler.on_epoch_end, handler.on_train_end):
        tell(None, None, SimpleNamespace())

    assert own.of == ["step"]
