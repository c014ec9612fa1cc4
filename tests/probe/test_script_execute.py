"""A script that runs in our process finds what it finds by `python`."""

import subprocess
import sys

from autobatch.probe.script_command import Command
from autobatch.probe.script_execute import execute

SOURCE = "import sys\nfrom pathlib import Path\nPath(sys.argv[1]).write_text(f'{__file__} {sys.path[0]}')\n"


def test_a_script_knows_its_own_file(tmp_path, monkeypatch):
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "train.py").write_text(SOURCE)
    monkeypatch.chdir(tmp_path)
    for name in ("argv", "path"):
        monkeypatch.setattr(sys, name, list(getattr(sys, name)))

    subprocess.run([sys.executable, "code/train.py", "python.txt"], check=True, timeout=60)
    execute(Command("file", "code/train.py", ("ours.txt",)))

    assert (tmp_path / "ours.txt").read_text() == (tmp_path / "python.txt").read_text()
