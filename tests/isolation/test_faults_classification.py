"""The short form of `benchmarks.faults.classification`: each case once, with real kernels and real kills."""

from __future__ import annotations

import pytest

from autobatch.isolation import cgroup
from benchmarks.faults.classification import both_parents, measure
from benchmarks.faults.classification_cases import CASES

SLOW = ("own limit, escapee from the session", "own limit, process tree")
"""They lose a process and are waited for; the benchmark has them."""


@pytest.fixture(scope="module")
def parents(tmp_path_factory):
    made = cgroup.create("autobatch-test-faults", 1 << 30)
    if made is None:
        pytest.skip("needs root and a memory controller")
    made.remove()
    with both_parents(tmp_path_factory.mktemp("parents")) as found:
        yield found


@pytest.mark.parametrize(
    "case", [case for case in CASES if not case.cuda and case.fault not in SLOW], ids=lambda case: case.fault
)
def test_the_verdict_is_right_and_nothing_is_left(case, parents, tmp_path):
    # cold where torch is not needed: the parent's memory does not count then, and it is quicker
    line = measure(case, tmp_path, 1, parents if case.needs_torch else parents[1:])
    assert (line.right, line.lost) == (1, 0), line.notes


@pytest.mark.gpu
@pytest.mark.parametrize("case", [case for case in CASES if case.cuda], ids=lambda case: case.fault)
def test_the_verdict_is_right_on_a_card(case, parents, tmp_path):
    line = measure(case, tmp_path, 1, parents)
    assert (line.right, line.lost) == (1, 0), line.notes
