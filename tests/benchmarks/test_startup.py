"""Starting probes again and again: as many as there is time for, and what they leave."""

import pytest

from benchmarks import startup
from benchmarks.common import Deadline


def test_starts_end_before_one_more_would_be_too_late(monkeypatch):
    now = [0.0]

    def start(*_):
        now[0] += 4.0
        return {"fork": 1.0}

    monkeypatch.setattr(startup, "start", start)
    counts = [len(phases) for phases in startup.starts(None, None, 50, Deadline(15, lambda: now[0]))]
    assert counts == [1, 2, 3]


def test_no_more_are_started_than_asked_for(monkeypatch):
    monkeypatch.setattr(startup, "start", lambda *_: {"fork": 1.0})
    assert [len(phases) for phases in startup.starts(None, None, 1, Deadline(600))] == [1]


def test_the_median_of_the_sum_is_not_the_sum_of_medians():
    phases = [{"a": 1.0, "b": 3.0}, {"a": 2.0, "b": 1.0}, {"a": 3.0, "b": 2.0}]
    assert startup.medians(phases) == {"a": 2.0, "b": 2.0, "total": 4.0}


@pytest.mark.parametrize(
    ("changes", "leaks"),
    [
        ({}, False),
        ({"parent_bytes": 64 << 20}, True),
        ({"parent_descriptors": 1}, True),
        ({"device_bytes": 100 << 20}, True),
        ({"device_bytes": -(100 << 20)}, False),
    ],
)
def test_what_counts_as_left_behind(changes, leaks):
    grown = {"parent_bytes": 0, "parent_descriptors": 0, "device_bytes": 0, **changes}
    assert startup.leaks({"cuda_in_parent": False, "grown": grown}) is leaks
    assert startup.leaks({"cuda_in_parent": True, "grown": grown})
