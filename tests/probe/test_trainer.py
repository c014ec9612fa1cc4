"""The Trainer of a probe."""

import torch
from transformers import Trainer, TrainingArguments

from autobatch.probe.trainer import own_sampler


class Bucketed(Trainer):
    """A script's own, with a sampler of its own."""

    def _get_train_sampler(self, train_dataset=None):
        return [len(train_dataset) - 1, 0]


class Stream(torch.utils.data.IterableDataset):
    """Samples without numbers."""

    def __iter__(self):
        yield {}


def test_a_scripts_own_sampler_is_told_from_the_librarys(tmp_path):
    def made(kind, dataset):
        arguments = TrainingArguments(str(tmp_path), use_cpu=True, report_to="none", max_steps=1)
        return kind(torch.nn.Linear(1, 1), arguments, train_dataset=dataset)

    assert own_sampler(made(Bucketed, [1, 2, 3])) == [2, 0]
    assert own_sampler(made(Trainer, [1, 2, 3])) is None
    assert own_sampler(made(Bucketed, None)) is None
    assert own_sampler(made(Bucketed, Stream())) is None
