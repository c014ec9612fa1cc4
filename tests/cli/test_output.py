import os
import subprocess
import sys
from pathlib import Path

import pytest
import recorded


def run(path, arguments, *, stdout, closed=""):
    # the shell closes descriptors; what follows `--` is its own command line
    command = ["sh", "-c", f'exec "$@" {closed}', "sh", sys.executable, "-m", "autobatch", *arguments]
    return subprocess.run(
        [*command, "--db", str(path)], stdout=stdout, stderr=subprocess.PIPE, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize("arguments", [["studies"], ["trials", "--csv"], ["report", "--json"], ["status"]])
def test_full_output_is_one_line_and_an_exit_code(path, arguments):
    with Path("/dev/full").open("wb") as full:
        done = run(path, arguments, stdout=full)
    assert done.returncode == 3
    what, do = done.stderr.splitlines()
    assert what == "autobatch: Standard output cannot be written: No space left on device."
    assert do.startswith("  -> ")


@pytest.mark.parametrize("arguments", [["studies"], ["report", "--json"], ["status"]])
def test_closed_output_is_one_line_and_an_exit_code(path, arguments):
    done = run(path, arguments, stdout=subprocess.DEVNULL, closed=">&-")
    assert done.returncode == 3
    assert [line[:11] for line in done.stderr.splitlines()] == ["autobatch: ", "  -> Free s"]


def test_a_reader_that_left_is_told_nothing(path):
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = run(path, ["report", "--json"], stdout=writing)
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (3, "")


def test_without_standard_error_the_exit_code_still_tells(path):
    assert run(path.with_name("none.db"), ["studies"], stdout=subprocess.DEVNULL, closed="2>&-").returncode == 4
    assert run(path.with_name("none.db"), ["studies"], stdout=subprocess.DEVNULL, closed="2>/dev/full").returncode == 4
    assert run(path, ["studies"], stdout=subprocess.DEVNULL, closed="2>&-").returncode == 0


def test_output_that_can_be_written_is_whole(path):
    done = run(path, ["studies", "--json"], stdout=subprocess.PIPE)
    assert done.returncode == 0
    assert recorded.STUDY in done.stdout


def test_a_name_that_is_no_utf_8_is_said_as_far_as_it_can_be(path, tmp_path):
    done = run(path, ["export", f"{tmp_path}/half \udcb8"], stdout=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"Wrote {tmp_path}/half ? (hf)." in done.stdout


def test_no_name_in_an_error_acts_on_the_terminal(path, tmp_path):
    folder = tmp_path / "\x1b[31mred"
    folder.mkdir()
    done = run(path, ["export", str(folder)], stdout=subprocess.PIPE)
    assert done.returncode == 2
    assert "\ufffd[31mred is a folder." in done.stderr
