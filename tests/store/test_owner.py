from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

from autobatch.isolation import proc
from autobatch.store.owner import Process, command


def test_this_process_lives_and_is_found_by_what_it_is():
    me = Process.current()
    assert me.pid == os.getpid()
    assert me.is_alive


def test_a_reused_pid_another_boot_and_another_namespace_are_not_it():
    me = Process.current()
    assert not replace(me, start_time_ticks=me.start_time_ticks - 1).is_alive
    assert not replace(me, boot_id="another").is_alive
    assert not replace(me, pid_namespace="1:1").is_alive


def test_an_ended_process_does_not_live_even_before_it_is_reaped():
    with subprocess.Popen(["sleep", "60"]) as child:
        now = proc.stat(child.pid)
        process = replace(Process.current(), pid=child.pid, start_time_ticks=now.start_ticks)
        assert process.is_alive
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert not process.is_alive


def test_facts_that_name_no_process_are_none():
    namespace = Process.current().pid_namespace
    assert Process.from_facts({"pid": 1, "boot_id": "b"}, namespace) is None
    assert Process.from_facts({"pid": "x", "boot_id": "b", "start_time_ticks": 1}, namespace) is None
    found = Process.from_facts({"pid": 1, "boot_id": "b", "start_time_ticks": 2}, namespace)
    assert found == Process("b", namespace, 1, 2)


def test_a_command_is_one_line():
    script = "import time\nprint(flush=True)\ntime.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", script, "two  words"], stdout=subprocess.PIPE) as child:
        child.stdout.readline()
        assert command(child.pid).endswith("-c import time print(flush=True) time.sleep(60) two words")
        child.kill()
    assert command(child.pid) == ""
