"""The long sample and what is held against it."""

import json

from autobatch.workload import data
from autobatch.workload.tokens import EstimatedTokenizer
from benchmarks import long_sample


def test_one_sample_has_ten_times_the_words_of_the_others(tmp_path):
    path = tmp_path / "long.jsonl"
    long_sample.write_data(path, long=True)
    words = sorted(len(json.loads(line)["text"].split()) for line in path.read_text().splitlines())
    assert words == [long_sample.USUAL_WORDS] * (long_sample.SAMPLES - 1) + [10 * long_sample.USUAL_WORDS]


def test_without_it_all_are_alike(tmp_path):
    path = tmp_path / "usual.jsonl"
    long_sample.write_data(path, long=False)
    assert {len(json.loads(line)["text"].split()) for line in path.read_text().splitlines()} == {
        long_sample.USUAL_WORDS
    }


def test_the_long_sample_is_the_one_that_a_probe_begins_with(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(long_sample.MODEL))
    path = tmp_path / "long.jsonl"
    long_sample.write_data(path, long=True)

    workload = long_sample.workload_of(folder, path, 8)

    counts = [len(EstimatedTokenizer(32_000).ids(sample.text)) for sample in data.read(path)]
    assert workload.data.longest_index == counts.index(max(counts))
    assert workload.lengths.source[-1] == max(counts) > 4 * sorted(counts)[-2]
    assert workload.effective_batch == 8


def found(without="ok", with_it="host_oom", status=0):
    return {
        "without": {"verdict": without},
        "with": {"verdict": with_it},
        "unsafe_training": {"status": -9},
        "chosen_training": {"status": status},
    }


def test_all_three_must_hold():
    assert long_sample.holds(found())
    assert not long_sample.holds(found(without="over_limit"))
    assert not long_sample.holds(found(with_it="ok"))
    assert not long_sample.holds(found(status=-9))
