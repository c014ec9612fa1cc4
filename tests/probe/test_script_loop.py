"""A loop on a device that goes on beside the host, and what it is told of its settings."""

import time

import pytest
from torch.utils.data import DataLoader

from autobatch.errors import UsageError
from autobatch.probe.device import Peak
from autobatch.probe.outcome import Progress
from autobatch.probe.script_alone import BriefLoop
from autobatch.probe.script_loop import LoopProbe
from autobatch.probe.script_loop_look import Look
from autobatch.request import Limits, Plan, ProbeRequest
from autobatch.settings import Configuration
from autobatch.workload.spec import Model, Workload

STEP_S = 0.05


class Beside:
    """A device whose work takes a while, and is launched at once."""

    total_bytes = 2**40
    busy_until = 0.0

    def launch(self):
        self.busy_until = max(self.busy_until, time.perf_counter()) + STEP_S

    def peak(self):
        return Peak(1)

    def reset(self):
        pass

    def synchronize(self):
        time.sleep(max(0.0, self.busy_until - time.perf_counter()))

    def moment(self):
        at = self.busy_until
        return lambda: at if time.perf_counter() >= at else None


@pytest.fixture
def loop(tmp_path):
    def loop(meter=None, **settings):
        workload = Workload(Model("script", "script", "causal"))
        request = ProbeRequest(workload, Configuration(settings), Plan(), Limits(), "cpu", str(tmp_path))
        return LoopProbe(request, meter, Progress(tmp_path))

    return loop


def test_the_first_timed_step_is_as_long_as_the_others(loop):
    device = Beside()
    probe = loop(device)
    for _ in range(5):
        device.launch()
        probe.step()
    device.synchronize()

    probe.recorder.estimate()

    assert probe.recorder.micro_steps == pytest.approx([STEP_S] * 2, rel=0.5)


def test_a_loop_knows_that_it_is_searched(loop):
    assert all(p.searching for p in (loop(), Look(print), BriefLoop()))


def test_a_setting_is_of_the_kind_that_the_loop_has(loop):
    probe = loop(dataloader_prefetch_factor=4, dataloader_num_workers=2)

    assert probe.setting("dataloader_prefetch_factor", None) == 4
    assert probe.setting("dataloader_prefetch_factor", 2.0) == 4.0
    assert loop(dataloader_num_workers=0).setting("dataloader_prefetch_factor", 2) is None


def test_a_setting_that_is_none_is_the_usual_one():
    told = []
    look = Look(told.append)

    assert look.setting("dataloader_prefetch_factor", None) is None
    look.step()

    assert told[0]["loop"]
    assert told[0]["settings"] == {"dataloader_prefetch_factor": 2}


def test_a_word_that_no_search_would_give_is_refused():
    look = Look(print)

    assert look.setting("precision", "fp16") == "fp16"
    assert look.setting("optim", "adamw_torch_8bit") == "adamw_torch_8bit"
    with pytest.raises(UsageError, match=r"own precision is 'no', and its values in a search are .*fp32") as refused:
        look.setting("precision", "no")
    assert "translate" in refused.value.do


def test_a_loop_of_its_own_is_measured(run):
    loop = """
import torch
import autobatch
from torch.utils.data import DataLoader

data = [torch.ones(40 if i == 9 else 3) for i in range(64)]
seen = []
with autobatch.probe() as p:
    loader = DataLoader(data, batch_size=p.setting("per_device_train_batch_size", 1), shuffle=True,
                        collate_fn=lambda rows: max(len(r) for r in rows))
    for number, longest in enumerate(p.batches(loader), 1):
        print("batch", longest, flush=True)
        if number % p.setting("gradient_accumulation_steps", 1) == 0:
            p.step(torch.tensor(0.5))
print("after")
"""
    done = run(loop)

    lines = done.log.splitlines()
    assert done.outcome["status"] == "ok", done.log
    assert [line for line in lines if line.startswith("batch")][:4] == ["batch 40"] * 4
    assert "after" not in lines
    assert done.outcome["measurements"]["loss"] == 0.5
    assert done.outcome["flags"]["worst_case_unknown"] is False
    assert done.outcome["flags"]["shows_defaults"] is True


def test_a_loop_reads_its_settings_from_the_environment(run):
    loop = """
import os
import autobatch
with autobatch.probe() as p:
    while True:
        assert os.environ["AUTOBATCH_PER_DEVICE_TRAIN_BATCH_SIZE"] == "4"
        assert os.environ["AUTOBATCH_GRADIENT_CHECKPOINTING"] == "0"
        p.step()
"""
    assert run(loop, seconds=2).outcome["status"] == "ok"


def test_a_loop_that_asks_for_every_setting_shows_no_defaults(run):
    loop = """
import autobatch
from autobatch.settings import SETTINGS
with autobatch.probe() as p:
    for name, setting in SETTINGS.items():
        p.setting(name, setting.default)
    while True:
        p.step()
"""
    assert run(loop, seconds=2).outcome["flags"]["shows_defaults"] is False


def test_a_loop_that_ends_too_early_is_said(run):
    done = run("import autobatch\nwith autobatch.probe() as p:\n    p.step()\n")

    assert "ended after 1 steps" in done.outcome["error"]["message"]


def test_a_setting_that_does_not_exist_is_said(run):
    done = run("import autobatch\nwith autobatch.probe() as p:\n    p.setting('batch', 1)\n")

    assert "no setting 'batch'" in done.outcome["error"]["message"]


LOOP = """
import sys, torch, autobatch
from torch.utils.data import DataLoader, IterableDataset

class Stream(IterableDataset):
    def __iter__(self):
        return iter(range(64))

with autobatch.probe() as p:
    size, steps = p.setting("per_device_train_batch_size", 3), p.setting("gradient_accumulation_steps", 1)
    for number, batch in enumerate(p.batches(LOADER), 1):
        BODY
        if number % steps == 0:
            p.step()
print("after", flush=True)
"""


def written(loader="DataLoader(range(64), batch_size=size)", body="pass"):
    return LOOP.replace("LOADER", loader).replace("BODY", body)


def test_a_loop_that_fails_only_under_test_is_told_apart(run, tmp_path):
    trace = f"open({str(tmp_path / 'alone.txt')!r}, 'a').write('.' if size == 3 else '')"

    done = run(written(body=f"{trace}; assert len(batch) == 3"))

    assert done.outcome["error"]["type"] == "AssertionError"
    assert done.outcome["flags"] == {"fails_alone": False}
    assert (tmp_path / "alone.txt").read_text() == ".."  # it goes no further than it must


def test_a_loop_that_fails_by_itself_too_is_said(run):
    assert run(written(body="1 / 0")).outcome["flags"] == {"fails_alone": True}


@pytest.mark.parametrize(
    "loader", ["DataLoader(Stream(), batch_size=size)", "DataLoader(range(64), batch_size=None)", "iter(range(30))"]
)
def test_a_loop_of_batches_whose_longest_is_unknown_is_measured(run, loader):
    done = run(written(loader))

    assert done.outcome["status"] == "ok", done.log
    assert done.outcome["flags"]["worst_case_unknown"] is True
    assert "after" not in done.log


def test_an_iterator_too_short_to_be_timed_is_said(run):
    error = run(written("iter(range(9))")).outcome["error"]

    assert error["message"] == "The loop ended after 4 steps, and 6 are needed to time it."
    assert "iterated again" in error["do"]


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (written("DataLoader(range(64), batch_size=3)"), "makes batches of 3 when per_device_train_batch_size is 4"),
        (written(body="steps = 3"), "takes 3 batches to a step when gradient_accumulation_steps is 2"),
        (written(body="continue"), "took 100 batches without a call of p.step()"),
        (written("[]"), "The loader makes no batch."),
    ],
)
def test_a_loop_that_does_not_do_as_it_is_told_is_said(run, source, said):
    assert said in run(source).outcome["error"]["message"]


def test_a_batch_that_is_short_at_the_end_of_a_pass_is_left_out(loop):
    batches = iter(loop(per_device_train_batch_size=4).batches(DataLoader(range(10), batch_size=4)))

    assert {len(next(batches)) for _ in range(12)} == {4}


def test_batches_are_as_many_as_the_loader_has(loop):
    probe = loop(per_device_train_batch_size=4)

    assert len(probe.batches(DataLoader(range(10), batch_size=4))) == 3
    with pytest.raises(TypeError):
        len(probe.batches(iter(range(10))))
    assert next(iter(probe.batches(x for x in range(10)))) == 0


def test_a_loop_that_steps_at_the_end_of_its_loader_is_measured(run):
    body = """
        if number == len(loader) and number % steps:
            p.step()
"""
    source = written("loader", body).replace(
        "    for number", "    loader = DataLoader(range(12), batch_size=size)\n    for number"
    )

    done = run(source)

    assert done.outcome["status"] == "ok", done.log


def test_samples_are_counted_as_they_are_drawn(run):
    body = """
        if number > 4 and number % 3 == 0:
            p.step()
        if number > 4:
            continue
"""
    found = run(written(body=body)).outcome["measurements"]

    assert found["samples_per_s"] * found["step_s"] == pytest.approx(3 * 4)


def test_a_longest_batch_that_is_a_guess_is_said(run):
    done = run(written("DataLoader([{'text': 'a', 'sound': [1.0]}] * 64, batch_size=size)"))

    assert done.outcome["flags"]["worst_case_unknown"] is True


def test_a_loop_may_take_the_longest_batch_to_pieces(run):
    loader = "DataLoader([{'x': 1}] * 64, batch_size=size)"

    assert run(written(loader, "batch.pop('x')")).outcome["status"] == "ok"
