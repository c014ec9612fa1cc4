from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autobatch.workload import lengths
from autobatch.workload.positions import clamp, limit
from autobatch.workload.spec import Lengths, Model


def test_a_log_normal_has_its_median_and_ends_at_the_limit():
    found = lengths.log_normal(180, 0.45, 40, 1026)
    assert len(found) == lengths.QUANTILES
    assert (found[0], found[50], found[-1]) == (40, 180, 1026)
    assert found[84] == pytest.approx(180 * 2.71828**0.45, rel=0.02)


@given(st.floats(1, 5000), st.floats(0.01, 2), st.integers(1, 500), st.integers(1, 4096))
def test_a_log_normal_rises_within_its_limits(median, sigma, shortest, longest):
    found = lengths.log_normal(median, sigma, shortest, longest)
    assert list(found) == sorted(found)
    assert min(found) >= 1
    assert max(found) == longest


@given(st.lists(st.integers(1, 9999), min_size=1, max_size=500))
def test_quantiles_keep_the_extremes_and_the_order(counts):
    found = lengths.quantiles(counts)
    assert (found[0], found[-1]) == (min(counts), max(counts))
    assert list(found) == sorted(found)
    assert 2 <= len(found) <= lengths.QUANTILES
    assert set(found) <= set(counts)


def test_no_lengths_have_no_quantiles():
    with pytest.raises(ValueError, match="no lengths"):
        lengths.quantiles([])


def test_clipping():
    assert lengths.clip(Lengths((5, 50), (3, 30)), 20, 10) == Lengths((5, 20), (3, 10))
    assert lengths.clip(Lengths((5, 50), estimated=True), 20, None) == Lengths((5, 20), estimated=True)


@pytest.mark.parametrize(
    ("config", "most"),
    [
        ({"model_type": "bart", "max_position_embeddings": 1026}, 1026),
        ({"model_type": "gpt2", "n_positions": 1024}, 1024),
        ({"model_type": "t5", "n_positions": 512}, None),
        ({"max_position_embeddings": "many"}, None),
        ({}, None),
    ],
)
def test_how_many_tokens_a_model_takes(config, most):
    assert limit(config) == most


def test_both_lengths_are_cut_and_each_is_said():
    model = Model("small", "", "seq2seq", {"max_position_embeddings": 128})
    source, target, notes = clamp(model, 512, 200)
    assert (source, target) == (128, 128)
    assert ["source length asked for, 512" in notes[0], "target length asked for, 200" in notes[1]] == [True, True]
    assert clamp(model, 100, None) == (100, None, ())
