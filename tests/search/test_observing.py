"""Rows that the posterior learns from: memory that is on no line, confirmations beside short probes."""

import math
from dataclasses import replace

import numpy as np
import pytest

from autobatch.request import Limits
from autobatch.search.facts import Fact
from autobatch.search.judge import DRIFT_SD
from autobatch.search.observing import REFUTED, below_a_step, table, tells
from autobatch.search.posterior import Observations
from autobatch.settings import Configuration, SearchSpace
from autobatch.verdict import Kind, Measurements, Verdict

GIB = 2**30


def rows(memory, arm=(0, 0, 0, 1)):
    nothing = np.full(len(memory), math.nan)
    batch = np.array([1.0, 4.0, 2.0, 1.0])
    return Observations(
        np.array(arm), batch, np.log(np.array(memory)), nothing, nothing, nothing, nothing + 1, nothing * 0
    )


def test_where_an_arms_memory_is_on_no_line_its_two_largest_micro_batches_are_kept():
    seen = rows([10.0, 20.0, 19.0, 5.0])
    expected = seen.memory + np.array([-2 * REFUTED, 0.0, 0.0, 0.0])
    assert below_a_step(seen, expected).tolist() == [True, False, False, False]


def test_what_is_on_the_line_is_kept_and_so_are_other_arms():
    seen = rows([10.0, 20.0, math.nan, 5.0])
    assert not below_a_step(seen, seen.memory + 0.5 * REFUTED).any()
    assert not below_a_step(seen, seen.memory + 2 * REFUTED).any()  # two or fewer are all that is known


def test_a_search_goes_beyond_a_step_in_memory(search, world, workload):
    """Memory jumps at a micro-batch of four and is flat beyond: the line through both sides refuses the best."""
    world.effective_batch, world.card_gib = 720, 20.4
    world.used_gib = lambda c: 1 + 0.01 * c.micro_batch + 6 * (c.micro_batch >= 4)
    world.micro_step_s = lambda c: max(2.0, 0.4 + 0.001 * c.micro_batch)
    space = SearchSpace({}, {"precision": ("bf16",)}, 720)
    result = search(space=space, workload=replace(workload, effective_batch=720)).run()
    assert result.chosen.configuration.micro_batch == 720
    assert result.probes <= 8


@pytest.mark.parametrize(("slower", "expected"), [(1.0, 1.0), (1.2, 1.2 ** (1 - 1 / 3))])
def test_what_a_confirmation_has_in_common_with_others_is_taken_off(space, slower, expected):
    tried = space.at({"precision": "bf16"}, 8)

    def fact(purpose, seconds):
        return Fact(0, tried, "search", purpose, Verdict(Kind.OK, Measurements(micro_step_s=seconds)))

    micro_step = table([[fact("probe", 1.0), fact("confirm", slower)]], space, Limits(), lambda _: DRIFT_SD)[2]
    assert math.exp(2 * micro_step[0]) == pytest.approx(expected)


@pytest.mark.parametrize(("half_width", "expected"), [(0.02, 2**0.5), (10.0, 1.0)])
def test_a_disturbed_measurement_counts_for_less(space, half_width, expected):
    """Beside one that took half as long: their mean where both are as sure, the steady one where it was disturbed."""
    tried = space.at({"precision": "bf16"}, 8)

    def fact(seconds, error):
        measured = Measurements(micro_step_s=seconds, micro_step_rel_error=error, steps_timed=3)
        return Fact(0, tried, "search", "probe", Verdict(Kind.OK, measured))

    row = table([[fact(1.0, 0.02), fact(2.0, half_width)]], space, Limits(), lambda _: DRIFT_SD)
    assert math.exp(row[2][0]) == pytest.approx(expected, rel=0.01)
    alone = table([[fact(2.0, half_width)]], space, Limits(), lambda _: DRIFT_SD)
    assert alone[5][0] == fact(2.0, half_width).time_sd > row[5][0]


def test_what_gave_no_interval_is_taken_for_as_sure_as_its_kind(space):
    tried = space.at({"precision": "bf16"}, 8)
    measured = Fact(0, tried, "search", "probe", Verdict(Kind.OK, Measurements(micro_step_s=1.0)))
    assert table([[measured]], space, Limits(), lambda _: DRIFT_SD)[4:, 0].tolist() == [1.0, 0.0]


@pytest.mark.parametrize(
    ("stage", "purpose", "told"),
    [("search", "probe", True), ("compare", "probe", True), ("confirm", "confirm", True), ("loader", "probe", False)],
)
def test_what_ran_with_other_workers_than_it_would_train_with_tells_nothing_of_its_arm(stage, purpose, told):
    ran = Verdict(Kind.OK, Measurements(samples_per_s=9.0))
    assert tells(Fact(0, Configuration(precision="bf16"), stage, purpose, ran)) is told
