"""What is said where nothing fits."""

import pytest

from autobatch.request import Limits
from autobatch.verdict import HINTS, Kind, Verdict

GIB = 2**30
HOST = Limits(24 * GIB, 0.8, 24 * GIB)
BESIDE = [Kind.SHM_FULL, Kind.THREADS_EXHAUSTED, Kind.LOADER_WORKER_KILLED]


@pytest.mark.parametrize("kind", BESIDE)
def test_what_is_short_beside_the_training_is_not_called_its_need(search, world, kind):
    world.script = lambda _: Verdict(kind, duration_s=3.0)
    result = search(limits=HOST).run()
    assert result.chosen is None
    assert result.advice == HINTS[kind]


@pytest.mark.parametrize("kind", BESIDE)
def test_the_hint_is_given_by_other_samplers_too(search, world, kind):
    world.script = lambda _: Verdict(kind, duration_s=3.0)
    assert search(limits=HOST, sampler_name="random").run().advice == HINTS[kind]


def test_what_the_training_needs_is_said_where_its_memory_is_short(search, world):
    world.fixed_gib = 40.0
    world.script = lambda n: Verdict(Kind.SHM_FULL, duration_s=3.0) if n == 0 else None
    assert "The smallest need was not measured; a guess is" in search(limits=HOST).run().advice


def test_a_need_that_nothing_measured_is_said_to_be_a_guess(search, world):
    world.script = lambda _: Verdict(Kind.CUDA_OOM_TRAIN, duration_s=3.0)
    assert "The smallest need was not measured; a guess is" in search().run().advice


def test_threads_that_may_not_be_made_are_no_reason_for_a_smaller_micro_batch(search, world):
    world.script = lambda _: Verdict(Kind.THREADS_EXHAUSTED, duration_s=3.0)
    assert "threads_exhausted" in search(limits=HOST).run().stopped
