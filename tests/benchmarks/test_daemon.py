"""The daemon's benchmark: commands, and what is read of them."""

import pytest

from autobatch.daemon import places
from autobatch.settings import Configuration
from autobatch.store.ledger import Ledger
from autobatch.verdict import Kind, Verdict
from benchmarks.daemon_queue import autobatch, probed, put_back, searches, with_result


def test_a_command_that_fails_is_an_error_in_its_own_words(tmp_path):
    with pytest.raises(RuntimeError, match=r"autobatch status --json ended with 4: .*There is no database"):
        searches(tmp_path / "trials.db")


def test_a_command_runs_on_the_database_it_is_given(tmp_path):
    assert "Type=notify" in autobatch("daemon", "unit", database=tmp_path / "night.db")
    assert str(tmp_path / "night.db") in autobatch("daemon", "unit", database=tmp_path / "night.db")


def test_probes_are_told_by_configuration_and_purpose_with_what_they_came_to(tmp_path):
    path, configuration = tmp_path / "trials.db", Configuration()
    with Ledger.open(path) as ledger:
        for purpose, kind in (("probe", Kind.NO_VERDICT), ("probe", Kind.OK), ("confirm", Kind.KILLED)):
            ledger.begin("s1", 0, configuration, purpose, "search").finish(Verdict(kind))
        ledger.begin("s2", 0, configuration, "probe", "search").finish(Verdict(Kind.OK))
    found = probed(path, "s1")
    assert found == {
        f"probe {configuration.digest}": ["no_verdict", "ok"],
        f"confirm {configuration.digest}": ["killed"],
    }
    assert [with_result(kinds) for kinds in found.values()] == [1, 0]


def test_why_searches_were_found_without_their_process_is_counted(tmp_path):
    log = places.log(tmp_path / "trials.db")
    log.parent.mkdir()
    log.write_text(
        "2026-11-22 05:00:00 search 1: starts on cpu, process 7\n"
        "2026-11-22 05:00:01 search 1: its process died; it goes on where it was\n"
        "2026-11-22 05:00:02 search 12: its process died; it goes on where it was\n"
        "2026-11-22 05:00:03 search 1: the daemon died while it started this; it goes on where it was\n"
    )
    assert put_back(tmp_path / "trials.db") == {"its process died": 2, "the daemon died while it started this": 1}
