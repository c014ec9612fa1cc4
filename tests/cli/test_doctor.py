from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import pytest
from click.testing import CliRunner

from autobatch.cli.doctor import command
from autobatch.machine import cgroups, doctor
from autobatch.machine.doctor import Finding, Level


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command_line = [sys.executable, "-m", "autobatch", "doctor", *arguments]
    return subprocess.run(command_line, capture_output=True, text=True, timeout=60, check=False)


def test_it_examines_this_machine_quickly_and_imports_no_torch():
    begin = time.monotonic()
    done = run("--json")
    assert time.monotonic() - begin < 10  # 2 s on a machine at rest; this one may be busy
    findings = json.loads(done.stdout)
    assert {finding["level"] for finding in findings} <= {"ok", "note", "warning", "problem"}
    areas = {finding["area"] for finding in findings}
    assert {"machine", "GPU", "libraries", "cgroup", "memory", "cores", "/dev/shm", "ulimit", "isolation"} <= areas
    assert not any("could not be examined" in finding["what"] for finding in findings)
    assert done.returncode == (3 if any(finding["level"] == "problem" for finding in findings) else 0)


def test_torch_is_not_imported():
    code = (
        "import sys; from autobatch.machine.doctor import examine; examine();"
        "print(sorted({'torch', 'bitsandbytes', 'transformers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


def test_every_finding_that_needs_it_says_what_to_do(monkeypatch):
    found = [
        Finding("GPU", Level.PROBLEM, "It is on fire.", "Put it out."),
        Finding("GPU", Level.WARNING, "It is warm.", "Open a window."),
        Finding("disk", Level.OK, "spins"),
    ]
    monkeypatch.setattr(doctor, "examine", lambda: found)
    done = CliRunner().invoke(command)
    assert done.exit_code == 3
    assert done.output.splitlines() == [
        "GPU",
        "[FAILED] It is on fire.",
        "         -> Put it out.",
        "[ warn ] It is warm.",
        "         -> Open a window.",
        "disk",
        "[  ok  ] spins",
        "1 to mend, 1 to mind.",
    ]


def test_nothing_to_mend_exits_with_0(monkeypatch):
    monkeypatch.setattr(doctor, "examine", lambda: [Finding("disk", Level.WARNING, "full", "Empty it.")])
    assert CliRunner().invoke(command).exit_code == 0


def test_a_check_that_fails_is_a_finding():
    def broken():
        yield Finding("a", Level.OK, "first")
        raise OSError(5, "no such luck")

    found = doctor._findings(broken)
    assert found[0].what == "first"
    assert "no such luck" in found[1].what


def test_inside_a_limited_group_it_says_the_limit():
    group = cgroups.read().memory
    if group is None:
        pytest.skip("no memory controller here")
    name = "memory.limit_in_bytes" if group.version == 1 else "memory.max"
    folder = group.folder / f"autobatch-test-{os.getpid()}"
    try:
        folder.mkdir()
        (folder / name).write_text(str(2**30))
    except OSError as error:
        if folder.is_dir():
            folder.rmdir()
        pytest.skip(f"no memory group can be made here: {error}")
    try:
        enter = f"open({str(folder / 'cgroup.procs')!r}, 'w').write('0'); import autobatch.cli as c; c.main()"
        line = [sys.executable, "-c", enter, "doctor", "--json"]
        done = subprocess.run(line, capture_output=True, text=True, timeout=60, check=False)
    finally:
        folder.rmdir()
    said = [finding["what"] for finding in json.loads(done.stdout)]
    assert f"{folder / name}: 1.0 GiB" in said
    assert any(what.startswith(f"limit 1.0 GiB ({folder / name})") for what in said)
