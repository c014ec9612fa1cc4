import pytest

from autobatch.errors import UsageError
from autobatch.job import script
from autobatch.job.request import Job
from autobatch.job.space import Wishes
from autobatch.probe.script_workload import PATIENCE_S, Found
from autobatch.workload.spec import Model, Workload

LOOP = {"per_device_train_batch_size": 8, "gradient_accumulation_steps": 2}


@pytest.fixture
def build(monkeypatch):
    """Build the job of a script of which this is found; also return how long it might take to begin."""

    def build(found, budget_s=60.0, **asked):
        patience = []

        def look(*asked):
            patience.append(asked[-1])
            return found

        monkeypatch.setattr(script, "look", look)
        workload, wish, _ = script.build(
            Job("train.py", budget_s, script=("python", "train.py")), Wishes(**asked), "cpu"
        )
        return workload, wish, patience[0]

    return build


def found(settings, **loader):
    return Found(Workload(Model("l", "l", "causal"), effective_batch=16), settings, loader)


def test_what_a_loop_does_not_ask_for_is_held_at_what_its_loader_has(build):
    _, wish, _ = build(found(LOOP, dataloader_num_workers=0, dataloader_prefetch_factor=4))

    assert wish.fix["dataloader_num_workers"] == 0
    assert wish.fix["dataloader_prefetch_factor"] == 4
    assert "per_device_train_batch_size" not in wish.fix


def test_what_a_loop_asks_for_is_searched_whatever_its_loader_has(build):
    _, wish, _ = build(found({**LOOP, "dataloader_num_workers": 3}, dataloader_num_workers=3))

    assert "dataloader_num_workers" not in wish.fix


@pytest.mark.parametrize(("budget_s", "expected"), [(60.0, 60.0), (7200.0, PATIENCE_S)])
def test_a_script_may_take_the_budget_to_begin_and_no_more(build, budget_s, expected):
    assert build(found(LOOP), budget_s)[2] == expected


def test_an_optimizer_that_the_arguments_do_not_choose_is_held_and_not_searched(build):
    given = found(LOOP, optim="adamw_torch")

    assert build(given)[1].fix["optim"] == "adamw_torch"
    for asked in ({"search": {"optim": ("adafactor",)}}, {"fix": {"optim": "adafactor"}}):
        with pytest.raises(UsageError, match="does not take optim from autobatch: to set it would change nothing"):
            build(given, **asked)


def test_a_loop_that_may_accumulate_by_itself_is_told_to_ask(build):
    with pytest.raises(UsageError, match="cannot be held") as refused:
        build(found({"per_device_train_batch_size": 8}))

    assert 'step once in p.setting("gradient_accumulation_steps", N) batches' in refused.value.do
