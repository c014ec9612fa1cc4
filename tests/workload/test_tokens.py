from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autobatch.errors import UsageError
from autobatch.workload import tokens
from autobatch.workload.spec import Model

KOREAN = "오늘 회의에서는 다음 분기 일정을 논의했습니다. 모두 동의했어요!"


def load(vocabulary: int, path: str | None = None) -> tokens.Tokenizer:
    return tokens.load(Model("m", "", "causal", {"vocab_size": vocabulary}, path=path))


@given(st.text(max_size=300), st.sampled_from([5, 100, 30_000, 32_000, 250_112]))
def test_ids_are_in_the_vocabulary_and_the_same_each_time(text, vocabulary):
    tokenizer = load(vocabulary)
    ids = tokenizer.ids(text)
    assert tokenizer.estimated
    assert len(ids) >= 1
    assert all(tokens.FIRST_ID <= one < max(vocabulary, tokens.FIRST_ID + 1) for one in ids)
    assert load(vocabulary).ids(text) == ids


def test_equal_words_are_equal_tokens():
    ids = load(30_000).ids("네 네 아니요 네")
    assert ids[0] == ids[1] == ids[-2] != ids[2]


def test_hangul_costs_by_the_vocabulary():
    counts = [len(load(vocabulary).ids(KOREAN)) for vocabulary in (30_000, 250_112, 128_256, 151_936, 32_000)]
    assert counts == sorted(counts)
    syllables = sum("가" <= letter <= "힣" for letter in KOREAN)
    assert counts[0] < syllables < counts[-1]


def test_english_is_about_four_letters_a_token():
    text = "The quick brown fox jumps over the lazy dog while everybody watches attentively. " * 20
    assert 3.0 < len(text) / len(load(128_256).ids(text)) < 5.0


def test_a_tokenizer_on_disk_counts_exactly(tmp_path):
    library = pytest.importorskip("tokenizers")
    words = {"<unk>": 0, "hello": 1, "world": 2}
    real = library.Tokenizer(library.models.WordLevel(words, unk_token="<unk>"))
    real.pre_tokenizer = library.pre_tokenizers.Whitespace()
    real.enable_truncation(2)
    real.save(str(tmp_path / "tokenizer.json"))
    tokenizer = load(3, str(tmp_path))
    assert not tokenizer.estimated
    assert tokenizer.ids("hello world hello moon") == [1, 2, 1, 0]


@pytest.mark.parametrize("text", ["", "{}", "[[", '{"model": {"type": "WordLevel"}}'])
def test_a_broken_tokenizer_is_an_error(tmp_path, text):
    (tmp_path / "tokenizer.json").write_text(text)
    with pytest.raises(UsageError, match="is no tokenizer"):
        load(3, str(tmp_path))


def test_a_folder_without_a_tokenizer_is_estimated(tmp_path):
    assert load(3, str(tmp_path)).estimated
