"""Every preset builds and trains one step."""

import pytest

from autobatch.workload import presets
from benchmarks import one_step


def test_counts_need_no_memory():
    row = one_step.measure("polyglot-ko-12.8b", "cpu", 60, meta=True)

    assert row.ok
    assert row.parameters == row.published


def test_a_wrong_count_is_not_ok():
    assert not one_step.Row("x", "full", "none", published=5, parameters=6).ok


@pytest.mark.parametrize("name", ["demo"])
def test_a_step_is_trained(name, tmp_path):
    one_step.step(presets.load(name), "cpu", str(tmp_path))

    assert '"loss"' in (tmp_path / "row.json").read_text()
