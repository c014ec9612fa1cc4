from dataclasses import replace

import pytest

from autobatch.search.facts import Fact
from autobatch.search.judge import PlainJudge
from autobatch.search.samplers import core
from autobatch.settings import EVAL_BATCH, Configuration, SearchSpace
from autobatch.verdict import Kind, Measurements, Verdict

SMALL = Configuration(per_device_train_batch_size=1)
LARGE = Configuration(per_device_train_batch_size=2)
SPACE = SearchSpace({}, {EVAL_BATCH: (1, 8, 64)}, 4)


def fact(number, configuration, samples_per_s):
    return Fact(number, configuration, "search", "probe", Verdict(Kind.OK, Measurements(samples_per_s=samples_per_s)))


FACTS = [fact(0, SMALL, 10.0), fact(1, SMALL, 12.0), fact(2, LARGE, 20.0)]


def test_a_score_is_the_mean_of_what_was_measured():
    assert PlainJudge(SPACE).scores(FACTS) == {core(SMALL): 11.0, core(LARGE): 20.0}


def test_what_is_held_back_since_is_not_offered_again():
    assert PlainJudge(SPACE, frozenset({core(SMALL)})).scores(FACTS) == {core(SMALL): 11.0}


def test_other_numbers_of_workers_say_nothing_of_the_configuration():
    slow = Fact(3, LARGE, "loader", "probe", Verdict(Kind.OK, Measurements(samples_per_s=5.0)))
    assert PlainJudge(SPACE).scores([*FACTS, slow])[core(LARGE)] == 20.0


def test_what_is_as_large_as_what_was_too_large_is_not_safe_either():
    over = Fact(3, SMALL, "confirm", "confirm", Verdict(Kind.OVER_LIMIT, Measurements(samples_per_s=10.0)))
    assert PlainJudge(SPACE).scores([*FACTS, over]) == {}


def test_what_confirmations_have_in_common_makes_none_of_them_worse():
    confirmed = [Fact(3 + n, one, "confirm", "confirm", fact(0, one, 0.8 * speed).verdict)
                 for n, (one, speed) in enumerate([(SMALL, 11.0), (LARGE, 20.0)])]  # fmt: skip
    scores = PlainJudge(SPACE).scores([*FACTS, *confirmed])
    alone = PlainJudge(SPACE).scores([*FACTS, confirmed[1]])
    assert scores[core(LARGE)] / scores[core(SMALL)] == pytest.approx(20 / 11, rel=0.02)
    assert alone[core(LARGE)] > 0.92 * 20.0  # by itself it is partly its own


@pytest.mark.parametrize("accident", [Kind.TIMEOUT, Kind.KILLED, Kind.DISTURBED])
def test_an_accident_takes_no_refutation_back(accident):
    refuted = Fact(3, LARGE, "confirm", "confirm", Verdict(Kind.HOST_OVER_LIMIT))
    broken_off = Fact(4, LARGE.replace({"dataloader_num_workers": 0}), "confirm", "confirm", Verdict(accident))
    assert core(LARGE) not in PlainJudge(SPACE).scores([*FACTS, refuted, broken_off])
    assert core(LARGE) in PlainJudge(SPACE).scores([*FACTS, broken_off])


def test_where_evaluation_alone_was_too_large_an_accident_with_less_leaves_it_open():
    refuted = Fact(
        3, LARGE.replace({"per_device_eval_batch_size": 64}), "confirm", "confirm", Verdict(Kind.CUDA_OOM_EVAL)
    )
    broken_off = Fact(4, LARGE, "confirm", "confirm", Verdict(Kind.TIMEOUT))
    assert core(LARGE) not in PlainJudge(SPACE).scores([*FACTS, refuted])
    assert core(LARGE) in PlainJudge(SPACE).scores([*FACTS, refuted, broken_off])


def test_what_evaluates_like_what_was_too_large_with_the_smallest_eval_batch_is_not_safe_either():
    refuted = Fact(3, LARGE.replace({EVAL_BATCH: 1}), "confirm", "confirm", Verdict(Kind.CUDA_OOM_EVAL))
    assert PlainJudge(SPACE).scores([*FACTS, refuted]) == {}
    assert core(SMALL) in PlainJudge(SPACE).scores([*FACTS, replace(refuted, configuration=LARGE)])
