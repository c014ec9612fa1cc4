import configparser
import shlex

import pytest

from autobatch.daemon.unit import unit
from autobatch.errors import DatabaseError


def read(text):
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str
    parser.read_string(text)
    return parser["Service"]


def test_the_unit_runs_the_daemon_of_the_database(path):
    service = read(unit(path))
    assert shlex.split(service["ExecStart"])[1:] == ["-m", "autobatch", "daemon", "run", "--db", str(path)]
    assert service["Type"] == "notify"
    assert service["KillMode"] == "process"
    assert service["WorkingDirectory"] == str(path.parent)


def test_systemd_reads_a_path_as_it_is(tmp_path):
    folder = tmp_path / "100% $HOME"
    folder.mkdir()
    service = read(unit(folder / "trials.db"))
    assert "100%% $$HOME" in service["ExecStart"]
    assert service["WorkingDirectory"].endswith("100%% $HOME")


def test_a_folder_that_is_not_there_is_said(tmp_path):
    with pytest.raises(DatabaseError, match="does not exist"):
        unit(tmp_path / "nowhere" / "trials.db")
