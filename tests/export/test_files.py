import errno

import pytest

from autobatch.errors import EXIT_MACHINE, MachineError, UsageError
from autobatch.export import files


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
def test_a_full_disk_is_the_machines_fault_and_leaves_the_file(tmp_path, monkeypatch, number):
    mine = tmp_path / "mine.yaml"
    mine.write_text("mine: 1\n")

    def fails(_):
        raise OSError(number, "No")

    monkeypatch.setattr(files.os, "fsync", fails)
    with pytest.raises(MachineError) as refused:
        files.write(mine, "theirs: 1\n")

    assert refused.value.exit_code == EXIT_MACHINE
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"mine.yaml": "mine: 1\n"}


def test_a_folder_that_is_not_there_is_a_matter_of_the_request(tmp_path):
    with pytest.raises(UsageError):
        files.write(tmp_path / "no" / "such.yaml", "")


def test_links_that_lead_round_are_said(tmp_path):
    loop = tmp_path / "best.yaml"
    loop.symlink_to(loop)

    with pytest.raises(UsageError, match="Cannot write"):
        files.write(loop, "")
