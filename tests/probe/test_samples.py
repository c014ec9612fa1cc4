"""Random tokens with the workload's lengths."""

import numpy as np
import pytest

from autobatch.probe.samples import RandomSamples, interpolate
from autobatch.workload.spec import Lengths


def test_the_first_sample_is_the_longest(workload):
    samples = RandomSamples(workload("bart"), 128, 50)

    assert (len(samples[0]["input_ids"]), len(samples[0]["labels"])) == (48, 24)
    assert samples.source.max() == 48


def test_items_are_as_long_as_they_say_and_the_same_again(workload):
    samples = RandomSamples(workload("bart"), 128, 50, seed=3)

    for index in range(50):
        item = samples[index]
        assert (len(item["input_ids"]), len(item["labels"])) == (samples.source[index], samples.target[index])
        assert min(item["input_ids"]) >= 4
        assert max(item["input_ids"]) < 128
    assert samples[7] == RandomSamples(workload("bart"), 128, 50, seed=3)[7]
    assert samples[7] != RandomSamples(workload("bart"), 128, 50, seed=4)[7]


def test_a_causal_model_learns_what_it_reads(workload):
    item = RandomSamples(workload("llama"), 128, 5)[1]

    assert item["labels"] == item["input_ids"]


def test_lengths_are_cut_at_the_limits(workload):
    samples = RandomSamples(workload("bart", lengths=Lengths((9, 900), (5, 500))), 128, 20)

    assert samples.source.max() == 48
    assert samples.target.max() == 24


def test_lengths_follow_the_distribution(workload):
    quantiles = tuple(range(100, 201))
    samples = RandomSamples(workload("llama", lengths=Lengths(quantiles), max_source_length=500), 128, 2000)

    assert np.quantile(samples.source, [0.25, 0.5, 0.75]) == pytest.approx([125, 150, 175], abs=1)


def test_one_far_sample_does_not_lengthen_the_others():
    quantiles = [*range(100, 200), 2000]

    lengths = interpolate(quantiles, np.linspace(0, 1, 1001))

    assert lengths.max() < 210
