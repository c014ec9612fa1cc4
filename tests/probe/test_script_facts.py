"""What is read off a Trainer that is about to train."""

import pytest
import torch
from torch.utils.data import DataLoader
from transformers import Trainer, TrainingArguments

from autobatch.errors import UsageError
from autobatch.probe.script_facts import _check_batch, has_own_optimizer

ROWS = [{"x": torch.ones(3)}] * 40


def twice(rows):
    """Make two views of every sample."""
    return {"x": torch.stack([row["x"] for row in rows for _ in range(2)])}


class Loading(Trainer):
    """A Trainer that makes its loader itself."""

    size = 4

    def get_train_dataloader(self):
        return DataLoader(self.train_dataset, batch_size=self.size, collate_fn=self.data_collator)


@pytest.fixture
def trainer(tmp_path):
    """Make a Trainer of a small network."""

    def make(kind=Trainer, **options):
        arguments = TrainingArguments(
            str(tmp_path), per_device_train_batch_size=4, optim="adafactor", use_cpu=True, report_to="none"
        )
        return kind(torch.nn.Linear(3, 1), arguments, train_dataset=ROWS, **options)

    return make


def test_a_loader_whose_batches_hold_more_than_its_samples_may_be_as_it_is_told(trainer):
    own = trainer(Loading, data_collator=twice)

    _check_batch(own)
    own.size = 8
    with pytest.raises(UsageError, match="makes batches of 16 when per_device_train_batch_size is 4"):
        _check_batch(own)


class Choosing(Trainer):
    """A Trainer that makes its optimizer itself."""

    def create_optimizer(self):
        if self.optimizer is None:
            self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.1)
        return self.optimizer


class Asking(Trainer):
    """A Trainer that makes the optimizer that its arguments name, in its own way."""

    def create_optimizer(self):
        kind, options = Trainer.get_optimizer_cls_and_kwargs(self.args)
        self.optimizer = kind(self.model.parameters(), **options)
        return self.optimizer


class Adding(Trainer):
    """A Trainer that adds to what the library does."""

    def create_optimizer(self):
        return super().create_optimizer()


@pytest.mark.parametrize(("kind", "own"), [(Trainer, False), (Adding, False), (Asking, False), (Choosing, True)])
def test_an_optimizer_is_the_arguments_where_they_are_asked(trainer, kind, own):
    made = trainer(kind)

    assert has_own_optimizer(made) is own
    assert made.optimizer is None


def test_an_optimizer_that_is_given_is_its_own(trainer):
    network = torch.nn.Linear(3, 1)

    assert has_own_optimizer(trainer(optimizers=(torch.optim.SGD(network.parameters()), None)))
