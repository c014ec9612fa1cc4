"""What click refuses is told as everything else is: two lines, exit code 2."""

import subprocess
import sys

import pytest
from click.testing import CliRunner

from autobatch.cli import root
from autobatch.errors import UsageError


def refused(*words):
    result = CliRunner().invoke(root, words)
    assert isinstance(result.exception, UsageError), result.output
    assert not result.output
    return result.exception


@pytest.mark.parametrize(
    ("words", "what", "do"),
    [
        (["--foo"], "No such option", "autobatch --help"),
        (["serach"], "No such command", "Did you mean search?"),
        (["search", "--modle", "demo"], "No such option", "--model"),
        (["plan"], "Missing option '--model'", "plan --help"),
        (["search", "--sampler=x"], "is not one of", "search --help"),
        (["search", "--epochs=nan"], "'--epochs'", "search --help"),
        (["search", "--epochs=inf"], "'--epochs'", "search --help"),
        (["search", "--epochs=0"], "'--epochs'", "search --help"),
        (["search", "--threshold=nan"], "'--threshold'", "search --help"),
        (["search", "--limit-gpu=nan"], "'--limit-gpu'", "search --help"),
        (["search", "--limit-host=nan"], "'--limit-host'", "search --help"),
        (["search", "--seed=-1"], "'--seed'", "search --help"),
        (["search", f"--seed={2**32}"], "'--seed'", "search --help"),
        (["search", "--effective-batch=0"], "'--effective-batch'", "search --help"),
        (["search", "--effective-batch=many"], "'free'", "search --help"),
        (["search", f"--effective-batch={'9' * 5000}"], "'--effective-batch'", "search --help"),
        (["verify", "best.yaml", "--minutes=nan"], "'--minutes'", "verify --help"),
    ],
)
def test_it_is_two_lines(words, what, do):
    error = refused(*words)
    assert what in error.what
    assert do.removeprefix("autobatch ") in error.do


def test_without_a_command_the_help_is_shown():
    result = CliRunner().invoke(root, [])
    assert "Find the fastest training settings" in result.output
    assert not isinstance(result.exception, UsageError)


def test_a_person_sees_two_lines_and_exit_code_2():
    done = subprocess.run(
        [sys.executable, "-m", "autobatch", "search", "--modle", "demo"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert not done.stdout
    first, second = done.stderr.splitlines()
    assert first.startswith("autobatch: No such option")
    assert second.startswith("  -> Did you mean --model")
