"""The daemon's benchmark: commands, and what is read of them."""

import pytest

from benchmarks.daemon_queue import autobatch, searches


def test_a_command_that_fails_is_an_error_in_its_own_words(tmp_path):
    with pytest.raises(RuntimeError, match=r"autobatch status --json ended with 4: .*There is no database"):
        searches(tmp_path / "trials.db")


def test_a_command_runs_on_the_database_it_is_given(tmp_path):
    assert "Type=notify" in autobatch("daemon", "unit", database=tmp_path / "night.db")
    assert str(tmp_path / "night.db") in autobatch("daemon", "unit", database=tmp_path / "night.db")
