"""The rounds of the classification benchmark: every case once before any comes again."""

import argparse

import pytest

from benchmarks.faults import classification
from benchmarks.faults.classification import Tally, rounds
from benchmarks.faults.classification_cases import CASES
from benchmarks.faults.classification_provoke import Result


@pytest.fixture
def provoked(monkeypatch):
    """Stand for the probes, and remember in which order the cases came."""
    order = []

    def provoke(case, folder, number, parents):  # noqa: ARG001 - as the function's
        order.append((number, case.fault))
        return Result(str(case.right[0]), "certain", 0)

    monkeypatch.setattr(classification, "provoke", provoke)
    return order


def options(**changes):
    return argparse.Namespace(**{"count": 2, "seconds": 600.0, "cold": False, **changes})


def test_every_case_is_run_before_any_is_again(provoked):
    tallies = [Tally(case) for case in CASES[:3]]
    for _ in rounds(tallies, options()):
        pass
    assert provoked == [(number, case.fault) for number in (0, 1) for case in CASES[:3]]
    assert [(line.injected, line.right, line.lost) for line in (tally.line() for tally in tallies)] == [(2, 2, 0)] * 3


def test_without_time_none_is_run(provoked):
    assert list(rounds([Tally(CASES[0])], options(seconds=0.0))) == []
    assert not provoked


def test_cases_of_a_card_are_left_out_on_the_cpu():
    assert not any(case.cuda for case in classification.possible("cpu"))
    assert any(case.cuda for case in classification.possible("cuda:0"))
