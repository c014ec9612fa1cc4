import os
import shutil
import subprocess
import sys

import pytest
from click.testing import CliRunner

from autobatch.cli import root
from autobatch.errors import UsageError


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_names_program_and_variable(shell):
    result = CliRunner().invoke(root, ["completion", shell], catch_exceptions=False)
    assert result.exit_code == 0
    assert "_AUTOBATCH_COMPLETE" in result.stdout


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")
def test_bash_can_read_the_script():
    script = CliRunner().invoke(root, ["completion", "bash"]).stdout
    done = subprocess.run(["bash", "-n"], input=script, text=True, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_commands_and_options_are_completed():
    def complete(*typed: str) -> list[str]:
        environment = {
            **os.environ,
            "_AUTOBATCH_COMPLETE": "bash_complete",
            "COMP_WORDS": " ".join(["autobatch", *typed]),
            "COMP_CWORD": str(len(typed)),
        }
        code = "import sys; sys.argv[0] = 'autobatch'; from autobatch.cli import root; root(prog_name='autobatch')"
        done = subprocess.run([sys.executable, "-c", code], env=environment, text=True, capture_output=True, check=True)
        return [line.partition(",")[2] for line in done.stdout.splitlines()]

    assert {"trials", "studies", "show", "report"} <= set(complete(""))
    assert complete("stu") == ["studies"]
    assert "--failed" in complete("trials", "--fa")


def test_an_unknown_shell_is_refused():
    assert isinstance(CliRunner().invoke(root, ["completion", "tcsh"]).exception, UsageError)
