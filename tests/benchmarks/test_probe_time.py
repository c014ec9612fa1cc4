"""The arms that are timed, and their phases."""

from autobatch.settings import MICRO_BATCH, WORKERS
from autobatch.verdict import Kind, Measurements, Verdict
from autobatch.workload import presets
from benchmarks import probe_time


def test_the_arms_are_those_of_a_search_at_one_micro_batch():
    found = probe_time.arms(presets.load("demo"), "cpu", 4)
    assert {(one["precision"], one["gradient_checkpointing"]) for one in found} == {
        (precision, again) for precision in ("bf16", "fp32") for again in (False, True)
    }
    assert {one[MICRO_BATCH] for one in found} == {4}
    assert all(one.micro_batch * one.accumulation == 16 for one in found)
    assert all(0 < one[WORKERS] <= 4 for one in found)


def row(whole, build, kind=Kind.OK):
    arm = probe_time.arms(presets.load("demo"), "cpu", 4)[0]
    return probe_time.told(arm, Verdict(kind, Measurements(startup_s={"build": build}), duration_s=whole))


def test_what_follows_the_first_step_is_the_rest():
    assert row(5.0, 2.0)["seconds"] == {"whole": 5.0, "build": 2.0, "rest": 3.0}


def test_the_median_is_of_the_probes_that_ran():
    rows = [row(5.0, 2.0), row(7.0, 3.0), row(9.0, 4.0), row(1.0, 0.1, Kind.CUDA_OOM_TRAIN)]
    assert probe_time.medians(rows) == {"whole": 7.0, "build": 3.0, "rest": 4.0}
    assert "7.000" in probe_time.report(rows).splitlines()[-1]
