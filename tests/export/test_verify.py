from dataclasses import replace

import pytest

from autobatch.export.frozen import load, save
from autobatch.export.verify import report, run, verify
from autobatch.store.lock import CPU, FOLDER_VARIABLE, GpuLock, InUseError
from autobatch.verdict import Kind, Measurements, Verdict


class Recorded:
    def __init__(self, verdict):
        self.verdict = verdict
        self.asked = None

    def run(self, configuration, plan, journal):
        self.asked = configuration, plan
        journal.started({})
        journal.sample({})
        journal.intent("none")
        return self.verdict


@pytest.fixture
def frozen(tmp_path, chosen):
    save(chosen, tmp_path / "best.yaml")
    return load(tmp_path / "best.yaml")


@pytest.mark.parametrize(
    ("step_s", "peak_gib", "holds"),
    [(0.5, 18, True), (0.52, 18.5, True), (0.3, 10, True), (0.54, 18, False), (0.5, 19.5, False)],
)
def test_a_promise_holds_within_its_band(frozen, step_s, peak_gib, holds):
    runner = Recorded(Verdict(Kind.OK, Measurements(step_s=step_s, device_peak_used_bytes=int(peak_gib * 2**30))))

    result = run(frozen, runner, 90)

    assert result.holds is holds
    assert result.to_dict()["figures"]["step_s"]["now"] == step_s
    assert ("worse by more than" in report(result)) is not holds
    configuration, plan = runner.asked
    assert configuration == frozen.configuration
    assert (plan.purpose, plan.max_seconds) == ("confirm", 90)


def test_a_doubtful_promise_has_a_wider_band(frozen):
    now = Measurements(step_s=0.58, micro_step_rel_error=0.1)

    assert run(frozen, Recorded(Verdict(Kind.OK, now)), 90).holds


@pytest.mark.parametrize(("busy", "holds"), [(0.6, True), (0.95, False), (None, False)])
def test_where_launches_bind_the_band_is_wider(tmp_path, chosen, busy, holds):
    promised = replace(chosen.measurements, gpu_utilization_fraction=busy, step_s=0.5)
    save(replace(chosen, measurements=promised), tmp_path / "best.yaml")

    now = Recorded(Verdict(Kind.OK, Measurements(step_s=0.56)))

    assert run(load(tmp_path / "best.yaml"), now, 90).holds is holds


@pytest.mark.parametrize(("rate", "holds"), [(9.8, True), (8.0, False)])
def test_inference_is_run_as_such(tmp_path, inference, rate, holds):
    save(inference, tmp_path / "best.yaml")
    runner = Recorded(Verdict(Kind.OK, Measurements(eval_samples_per_s=rate)))

    assert run(load(tmp_path / "best.yaml"), runner, 90).holds is holds
    assert runner.asked[1].purpose == "inference"


def test_a_failure_does_not_hold(frozen):
    result = run(frozen, Recorded(Verdict(Kind.CUDA_OOM_TRAIN)), 90)

    assert not result.holds
    assert "cuda_oom_train" in report(result)


def test_what_the_code_raised_does_not_act_on_the_terminal(frozen):
    verdict = Verdict(Kind.USER_ERROR, evidence={"exception": {"type": "ValueError", "message": "\x1b[31mred"}})

    assert "\ufffd[31mred" in report(run(frozen, Recorded(verdict), 90))


def test_bytes_are_said_as_people_write_them(frozen):
    now = Measurements(step_s=0.5, device_peak_used_bytes=18 * 2**30)

    said = report(run(frozen, Recorded(Verdict(Kind.OK, now)), 90))

    assert "device_peak_used_bytes: promised 18.0 GiB, now 18.0 GiB (+0.0%), holds" in said
    assert "step_s: promised 0.5, now 0.5" in said


def test_it_does_not_run_beside_a_search(frozen, tmp_path, monkeypatch):
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "locks"))
    with GpuLock(CPU), pytest.raises(InUseError):
        verify(frozen, 60.0, "cpu")
