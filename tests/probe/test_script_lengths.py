import numpy as np
import pytest
import torch
from datasets import Dataset

from autobatch.probe import script_lengths
from autobatch.probe.script_lengths import is_guess, lengths, size


def test_token_ids_and_labels_are_counted():
    rows = [{"input_ids": [1] * n, "labels": [1] * m} for n, m in ((3, 2), (5, 9), (4, 4))]

    source, target = lengths(rows)

    assert source.tolist() == [3, 5, 4]
    assert target.tolist() == [2, 9, 0]
    assert lengths(rows, seq2seq=True)[1].tolist() == [2, 9, 4]


def test_a_table_is_counted_by_column():
    table = Dataset.from_dict({"input_ids": [[1], [1, 2, 3]], "labels": [[1, 2], [1]]}).with_format("torch")

    source, target = lengths(table)

    assert source.tolist() == [1, 3]
    assert target.tolist() == [2, 1]


def test_a_class_is_no_token():
    table = Dataset.from_dict({"input_ids": [[1], [1, 2, 3]], "labels": [0, 1]})

    assert [found.tolist() for found in lengths(table)] == [[1, 3], [0, 0]]


def test_every_choice_of_a_row_is_counted_as_long_as_the_longest():
    table = Dataset.from_dict({"input_ids": [[[1, 2], [1]], [[1], [1, 2, 3]]], "labels": [0, 1]})

    assert lengths(table)[0].tolist() == [4, 6]


@pytest.mark.parametrize(
    ("sample", "expected"),
    [
        ({"input_ids": torch.ones(7), "labels": torch.ones(7)}, (7, 7)),
        ({"input_ids": torch.ones(7), "labels": torch.tensor(1)}, (7, 0)),
        ({"input_ids": [1] * 7, "labels": 1}, (7, 0)),
        ({"text": "eleven here"}, (11, 0)),
        ({"messages": [{"role": "user", "content": "hi"}, {"role": "x", "content": "yes"}]}, (10, 0)),
        ((torch.ones(3), 1), (4, 0)),
        ([np.ones((2, 3)), torch.ones(2), None], (8, 0)),
        (torch.ones(2, 3), (6, 0)),
        ("four", (4, 0)),
    ],
)
def test_other_samples_have_a_size(sample, expected):
    assert size(sample)[1] == expected[1]
    assert size(sample)[0] >= expected[0]


def test_a_longer_sample_is_larger_whatever_its_kind():
    for short, long in (
        (torch.ones(2), torch.ones(3)),
        ({"t": "a"}, {"t": "ab"}),
        ([1], [1, 2]),
        ((torch.ones(2), 1), (torch.ones(3), 1)),
    ):
        assert size(short) < size(long)


PROMPT = {"prompt": "a long question" * 9, "prompt_ids": [1] * 5}


@pytest.mark.parametrize(
    ("sample", "expected"),
    [
        ({**PROMPT, "chosen": "yes", "chosen_ids": [1] * 2, "rejected": "no" * 40, "rejected_ids": [1] * 3}, 8),
        ({**PROMPT, "chosen_ids": torch.ones(4), "rejected_ids": np.ones(3)}, 9),
        ({**PROMPT, "completion_ids": [1] * 2, "KL_completion_ids": [1] * 4, "completion_token_type_ids": [0] * 7}, 9),
        ({"chosen_ids": [1] * 2, "rejected_ids": [1] * 3, "margin": 0.5}, 3),
        ({"input_ids_chosen": [1] * 2, "input_ids_rejected": [], "attention_mask_chosen": [1] * 2}, 2),
        ({"query_ids": [1] * 2, "passage_ids": [[1, 2], [3, 4]], "query": "text"}, 6),
        ({"text": "eleven here", "ids": ["a", "b"], "label": 1}, 11 + 2 + 1),
        ({"text": "eleven here", "ids": 7}, 11 + 1),
    ],
)
def test_ids_of_any_name_are_counted_and_not_what_they_are_of(sample, expected):
    assert size(sample) == (expected, 0)


@pytest.mark.parametrize(
    ("sample", "guess"),
    [
        ({"text": "a", "boxes": [[1, 2]]}, True),
        ({"messages": [{"role": "user", "content": "hi"}], "sound": torch.ones(9)}, True),
        ({"messages": [{"role": "user", "content": "hi"}], "label": 1, "title": "x", "none": None}, False),
        ({"sound": torch.ones(9), "noise": [1.0]}, False),
        ({"text": "a", "input_ids": [1], "boxes": [1]}, False),
        ({"prompt": "a", "prompt_ids": [1], "completion_mask": [1]}, False),
        (([1], "a"), False),
    ],
)
def test_text_beside_numbers_is_a_guess(sample, guess):
    assert is_guess(sample) is guess


def test_the_longest_of_a_slow_set_is_sought_for_a_while(monkeypatch):
    monkeypatch.setattr(script_lengths, "SCAN_S", 0.0)

    source, _ = lengths([{"input_ids": [1] * 4}] * 50)

    assert source.tolist() == [4] * 50


def test_lengths_are_kept_for_the_probes_to_come(tmp_path):
    cache = tmp_path / "lengths.npz"
    rows = [{"input_ids": [1] * n} for n in (3, 5)]
    first = lengths(rows, cache)

    again = lengths([None, None], cache)
    other = lengths([{"input_ids": [1]}], cache)

    assert np.array_equal(first, again)
    assert other[0].tolist() == [1]


def test_what_was_cut_off_when_it_was_kept_is_counted_again(tmp_path):
    cache = tmp_path / "lengths.npz"
    rows = [{"input_ids": [1] * n} for n in (3, 5)]
    lengths(rows, cache)
    cache.write_bytes(cache.read_bytes()[:200])

    assert lengths(rows, cache)[0].tolist() == [3, 5]
    assert [path.name for path in tmp_path.iterdir()] == ["lengths.npz"]


def test_another_table_of_the_same_size_is_counted_anew(tmp_path):
    cache = tmp_path / "lengths.npz"
    lengths(Dataset.from_dict({"input_ids": [[1], [1]]}), cache)

    assert lengths(Dataset.from_dict({"input_ids": [[1], [1, 2]]}), cache)[0].tolist() == [1, 2]
