"""A person's text as token ids."""

import json
from dataclasses import replace

import numpy as np
import pytest

from autobatch.probe import text
from autobatch.probe.text import TextSamples
from autobatch.workload import data


@pytest.fixture
def described(tmp_path, workload):
    """Make a workload over a file of texts whose lengths vary."""

    def make(name, count=120, limit=400):
        rng = np.random.default_rng(5)
        lines = [{"text": "wordy " * int(n), "summary": "brief " * int(n // 9 + 1)} for n in rng.integers(3, 80, count)]
        lines[11]["text"] = "word " * 300
        path = tmp_path / "data.jsonl"
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        plain = workload(name, max_source_length=limit)
        found = data.describe(path, plain)
        return replace(plain, data=found.data, lengths=found.lengths)

    return make


@pytest.mark.parametrize("name", ["bart", "llama"])
def test_lengths_by_rank_are_nearly_the_real_ones(name, described):
    samples = TextSamples(described(name))

    real = np.array([len(samples[i]["input_ids"]) for i in range(len(samples))])
    assert samples.source == pytest.approx(real, rel=0.25, abs=3)
    assert samples.source.mean() == pytest.approx(real.mean(), rel=0.02)
    assert samples.source[11] == real[11] == real.max()


def test_a_causal_model_reads_text_and_summary(described):
    causal, seq2seq = TextSamples(described("llama")), TextSamples(described("bart"))

    assert len(causal[0]["input_ids"]) == len(seq2seq[0]["input_ids"]) + len(seq2seq[0]["labels"])
    assert causal[0]["labels"] == causal[0]["input_ids"]


def test_samples_are_cut_at_the_limits(described):
    samples = TextSamples(described("bart", limit=30))

    assert max(len(samples[i]["input_ids"]) for i in range(len(samples))) == 30
    assert max(len(samples[i]["labels"]) for i in range(len(samples))) <= 24


def test_a_large_data_set_is_sampled_with_its_longest(described, monkeypatch):
    monkeypatch.setattr(text, "MOST_SIZED", 20)

    samples = TextSamples(described("bart"))

    assert len(samples) == 20
    assert samples.source.max() == 301
