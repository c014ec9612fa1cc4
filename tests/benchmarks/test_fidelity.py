"""Probes beside real runs."""

import pytest

from autobatch.settings import Configuration
from autobatch.workload import presets
from benchmarks import fidelity
from benchmarks.fidelity import Row


def row(**changes):
    values = {
        "probed_step_s": [1.0],
        "probed_peak_bytes": 100,
        "real_step_s": [1.0, 1.0],
        "real_peak_bytes": [100, 100],
    }
    return Row("x", "ok", **{**values, **changes})


@pytest.mark.parametrize(
    ("changes", "ok"),
    [
        ({}, True),
        ({"probed_step_s": [1.07]}, False),
        ({"probed_step_s": [1.07], "real_step_s": [0.97, 1.03]}, True),
        ({"probed_peak_bytes": 97}, False),
        ({"real_peak_bytes": [90, 100]}, True),
        ({"unsafe": True}, False),
        ({"note": "it died"}, False),
    ],
)
def test_what_counts_as_the_truth(changes, ok):
    assert row(**changes).ok is ok


def test_the_median_is_held_to_more_than_the_worst():
    rows = [row(probed_step_s=[1.05]), row(probed_step_s=[1.05]), row()]

    assert all(r.ok for r in rows)
    assert not fidelity.summary(rows)["ok"]
    assert fidelity.summary(rows)["compared"] == 3


@pytest.mark.parametrize("name", list(fidelity.CONFIGS))
def test_every_configuration_is_one(name):
    preset, settings = fidelity.CONFIGS[name]
    workload = fidelity.workload_of(preset, Configuration(settings), None, steps=200)

    assert workload.model.config == presets.load(preset).model.config
    assert 3 <= 200 * workload.effective_batch / workload.train_samples <= 5


def test_at_least_eight_configurations_of_four_presets_are_compared():
    assert len(fidelity.DEFAULT) >= 8
    assert len({fidelity.CONFIGS[name][0] for name in fidelity.DEFAULT}) >= 4


def test_what_a_difference_of_peaks_comes_from_is_kept_where_the_device_tells():
    one = row()
    one.note_peaks("probed", {"device_peak_allocated_bytes": 70, "device_peak_reserved_bytes": 90})
    one.note_peaks("real", {"device_peak_allocated_bytes": 70, "device_peak_reserved_bytes": None})
    assert one.to_dict()["peaks"] == {"probed_allocated": [70], "probed_reserved": [90], "real_allocated": [70]}
