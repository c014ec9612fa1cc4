"""Batches as training sees them."""

from multiprocessing import get_context

import pytest
import torch
from torch.utils.data import DataLoader

from autobatch.probe.collate import LoaderClock, TimedCollator, TimedSamples, collator, padding_tokenizer, pads

ITEMS = [{"input_ids": [5, 6, 7], "labels": [8]}, {"input_ids": [9], "labels": [4, 5]}]


def test_it_pads_to_the_longest_and_labels_with_minus_100():
    batch = collator(padding_tokenizer(1))(ITEMS)

    assert batch["input_ids"].tolist() == [[5, 6, 7], [9, 1, 1]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]
    assert batch["labels"].tolist() == [[8, -100], [4, 5]]


def joined(features):
    return {"input_ids": torch.tensor([[token for one in features for token in one["input_ids"]]])}


def particular(features):
    raise ValueError(features)


def test_a_collator_that_joins_samples_is_told_from_one_that_pads():
    assert not pads(joined, ITEMS)
    assert pads(collator(padding_tokenizer(1)), ITEMS)
    assert pads(particular, ITEMS)
    assert pads(len, ITEMS)


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_workers_add_their_time_to_one_clock(context):
    clock = LoaderClock()
    loader = DataLoader(
        TimedSamples(ITEMS * 4, clock),
        batch_size=2,
        num_workers=2,
        collate_fn=TimedCollator(collator(padding_tokenizer(1)), clock),
        multiprocessing_context=get_context(context),
    )

    assert clock.batch_s is None
    assert len(list(loader)) == 4
    assert sum(clock._totals[::2]) == 4
    assert clock._totals[2] == clock._totals[4] == 2
    assert 0 < clock.batch_s < 1
