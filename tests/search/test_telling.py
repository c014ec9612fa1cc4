import os
import signal

import optuna
import pytest
from optuna.trial import TrialState

from autobatch import attributes
from autobatch.search import desk
from autobatch.settings import EVAL_BATCH, SearchSpace
from autobatch.store import open_storage
from autobatch.store.ledger import Ledger
from autobatch.store.recovery import recover
from autobatch.verdict import Kind, Verdict

SPACE = SearchSpace({}, {"precision": ("bf16",), EVAL_BATCH: (8, 16, 32)}, 8)
RAN, OUT_OF_MEMORY, EVALUATED = 0, 3, 4
"""Trials of a search of that space, by what they come to."""


@pytest.fixture
def run(search):
    """Run the search that a database holds, to its end, as the command does."""

    def run(path):
        storage = open_storage(path)
        try:
            with Ledger.open(path) as ledger:
                untold = recover(ledger, storage).untold
                usual = {"space": SPACE, "storage": storage, "ledger": ledger, "untold": untold}
                return search(**usual, sampler_name="grid", confirmations=0).run()
        finally:
            storage.engine.dispose()

    return run


@pytest.fixture
def killed(run, monkeypatch):
    """Run it in a process of its own that is killed where `fault` says."""

    def killed(path, fault):
        pid = os.fork()
        if pid == 0:
            try:
                fault(monkeypatch)
                run(path)
            finally:
                os._exit(7)
        _, status = os.waitpid(pid, 0)
        assert os.WIFSIGNALED(status), "it ended before it was killed"

    return killed


def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)


def before_telling(number):
    """Die with the verdict in the ledger and nothing of it in Optuna."""
    usual = desk.tell

    def tell(trial, *rest):
        return die() if trial.number == number else usual(trial, *rest)

    return lambda monkeypatch: monkeypatch.setattr(desk, "tell", tell)


def while_telling(number):
    """Die with all attributes in Optuna, but the trial still running."""
    usual = optuna.Study.tell

    def tell(self, trial, *rest, **named):
        return die() if trial.number == number else usual(self, trial, *rest, **named)

    return lambda monkeypatch: monkeypatch.setattr(optuna.Study, "tell", tell)


def trials(path):
    storage = open_storage(path)
    try:
        found = optuna.load_study(study_name="autobatch", storage=storage).trials
        return [(t.number, t.state, t.values, t.params, t.user_attrs, t.constraints) for t in found]
    finally:
        storage.engine.dispose()


@pytest.fixture
def undisturbed(tmp_path, run, world):
    """What a search that nothing disturbs leaves behind, and what it probed."""
    run(tmp_path / "whole.db")
    probed = list(world.tried)
    world.tried.clear()
    return trials(tmp_path / "whole.db"), probed


@pytest.mark.parametrize("fault", [before_telling, while_telling])
@pytest.mark.parametrize(
    ("number", "kind", "stage"),
    [(RAN, "ok", "search"), (OUT_OF_MEMORY, "cuda_oom_train", "search"), (EVALUATED, "ok", "eval")],
)
def test_what_a_killed_search_had_measured_is_told_and_not_probed_again(
    tmp_path, run, killed, world, undisturbed, *, fault, number, kind, stage
):
    path, (wanted, probed) = tmp_path / "killed.db", undisturbed
    assert [wanted[number][4][name] for name in (attributes.VERDICT, attributes.STAGE)] == [kind, stage]
    killed(path, fault(number))
    assert trials(path)[number][1] is TrialState.RUNNING
    run(path)
    assert trials(path) == wanted
    assert world.tried == probed[number + 1 :]


def test_to_go_on_once_more_changes_nothing(tmp_path, run, killed, world):
    path = tmp_path / "killed.db"
    killed(path, before_telling(RAN))
    run(path)
    done, probes = trials(path), len(world.tried)
    run(path)
    assert trials(path) == done
    assert len(world.tried) == probes


def test_a_search_killed_while_it_tells_for_another_is_completed_by_the_next(tmp_path, run, killed, undisturbed):
    path, (wanted, _) = tmp_path / "killed.db", undisturbed
    killed(path, before_telling(RAN))
    killed(path, lambda monkeypatch: monkeypatch.setattr(optuna.Study, "tell", die))
    run(path)
    assert trials(path) == wanted


@pytest.mark.parametrize(
    "end", [KeyboardInterrupt(), Verdict(Kind.DISTURBED, duration_s=5.0)], ids=["given up", "disturbed"]
)
def test_what_was_given_up_or_disturbed_fails_and_is_probed_again(tmp_path, run, killed, world, end):
    path = tmp_path / "killed.db"
    world.script = lambda n: end if n == 0 else None
    killed(path, while_telling(0))
    world.script = lambda _: None
    run(path)
    assert [state for _, state, *_ in trials(path)][:2] == [TrialState.FAIL, TrialState.COMPLETE]
    assert len([c for c, purpose in world.tried if purpose == "probe"]) == len(SPACE.micro_batches)


def test_another_studys_trials_are_left_alone(tmp_path, search, run, killed):
    path = tmp_path / "killed.db"
    killed(path, before_telling(RAN))
    storage = open_storage(path)
    with Ledger.open(path) as ledger:
        untold = recover(ledger, storage).untold
        usual = {"space": SPACE, "storage": storage, "ledger": ledger, "untold": untold}
        search(**usual, study_name="another", sampler_name="grid", confirmations=0).run()
        assert [probe.trial_number for probe in recover(ledger, storage).untold] == [RAN]
    storage.engine.dispose()
    run(path)
    assert trials(path)[RAN][1] is TrialState.COMPLETE
