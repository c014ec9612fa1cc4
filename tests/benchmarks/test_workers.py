"""Which number of workers counts as the least, and the slow data."""

import json

import pytest

from benchmarks import workers


def row(count, wait, verdict="ok"):
    return {"workers": count, "verdict": verdict, "loader_wait_fraction": wait}


@pytest.mark.parametrize(
    ("rows", "least"),
    [
        ([row(0, 0.3), row(1, 0.01), row(2, 0.0)], 1),
        ([row(0, 0.3), row(1, 0.021), row(2, 0.02)], 1),
        ([row(0, 0.3), row(1, 0.031), row(2, 0.02)], 2),
        ([row(0, 0.3), row(1, None, "host_oom"), row(2, 0.02)], 2),
        ([row(0, 0.204), row(1, 0.03), row(2, 0.026), row(3, 0.038)], 1),
        ([row(0, 0.3), row(1, 0.07), row(2, 0.01), row(0, 0.3), row(1, 0.01), row(2, 0.03)], 2),
        ([row(0, 0.3), row(1, 0.04), row(2, 0.03), row(0, 0.3), row(1, 0.01), row(2, 0.02)], 1),
        ([row(0, None, "host_oom")], None),
    ],
)
def test_the_least_that_keep_the_device_busy(rows, least):
    assert workers.least(rows) == least


def test_samples_are_long_and_have_summaries(tmp_path):
    path = tmp_path / "slow.jsonl"
    workers.write_data(path)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(rows) == workers.MODULES
    assert all(len(row["text"]) >= workers.SHORTEST and row["summary"] for row in rows)


def test_a_failed_measurement_is_shown_by_its_verdict():
    figures = {"samples_per_s": None, "loader_worker_bytes": None}
    assert "host_oom" in workers.line(row(2, None, "host_oom") | figures)
