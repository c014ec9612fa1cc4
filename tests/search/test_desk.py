from __future__ import annotations

import optuna
import pytest
from optuna.storages import InMemoryStorage
from optuna.trial import TrialState

from autobatch import attributes
from autobatch.search.seams import NullEntry, NullLedger, NullObserver
from autobatch.verdict import Kind


class Closing(NullLedger, NullEntry):
    def __init__(self):
        self.ended = []

    def begin(self, *_):
        return self

    def finish(self, verdict):
        self.ended.append(verdict.kind)


class Broken(NullObserver):
    def trial_started(self, *_):
        raise BrokenPipeError


def test_an_interrupted_trial_says_what_it_was(search, world):
    storage = InMemoryStorage()
    world.script = lambda n: KeyboardInterrupt() if n == 0 else None

    search(storage=storage).run()

    [trial] = optuna.load_study(study_name="autobatch", storage=storage).trials
    assert trial.state is TrialState.FAIL
    assert trial.user_attrs[attributes.VERDICT] == Kind.KILLED
    assert trial.user_attrs[attributes.STAGE] == "search"
    assert trial.user_attrs[attributes.DIGEST]
    assert "interrupted" in trial.user_attrs[attributes.HINT]


def test_a_view_that_fails_leaves_neither_row_nor_trial_open(search):
    storage, ledger = InMemoryStorage(), Closing()

    with pytest.raises(BrokenPipeError):
        search(storage=storage, ledger=ledger, observer=Broken()).run()

    assert ledger.ended == [Kind.KILLED]
    [trial] = optuna.load_study(study_name="autobatch", storage=storage).trials
    assert trial.state is TrialState.FAIL
