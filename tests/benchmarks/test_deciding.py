"""What decisions take: the made-up trials that they are made on."""

from benchmarks.deciding import CARD_GIB, EFFECTIVE_BATCH, decisions, facts_of, rows
from benchmarks.replay_surfaces import Case, Replay, Surface


def test_every_decision_is_timed_on_trials_that_ran_and_trials_that_did_not_fit():
    surface = Surface("made-up", 512, 128, tuple(rows()))
    replay = Replay(surface, Case("made-up", CARD_GIB, EFFECTIVE_BATCH), seed=0)
    assert len(replay.candidates) == 320
    assert len(replay.space.arms()) == 32

    facts = facts_of(replay, 20)
    assert {fact.ok for fact in facts} == {True, False}
    seconds = decisions(replay, facts, 2)
    assert [len(seconds[name]) for name in ("wall_s", "cpu_s")] == [2, 2]
    assert min(seconds["wall_s"]) > 0
