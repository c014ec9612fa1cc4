from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from autobatch.isolation.parent import PreloadedParent
from autobatch.machine.gpus import Gpu
from autobatch.probe import cuda_shim, preload

GPUS = [Gpu(0, "first", "GPU-1", 80 << 30, (9, 0), "1"), Gpu(1, "second", "GPU-2", 24 << 30, (8, 6), "1")]

CHILD = """
import json, sys, threading
from pathlib import Path

def look(folder):
    import torch
    torch.ones(64, 64) @ torch.ones(64, 64)
    facts = {
        "libraries": [n for n in ("torch", "transformers", "peft", "accelerate", "bitsandbytes") if n in sys.modules],
        "model": "transformers.models.llama.modeling_llama" in sys.modules,
        "cuda": torch.cuda.is_initialized(),
        "threads_before": threading.active_count(),
    }
    Path(folder, "facts.json").write_text(json.dumps(facts))
    return 0
"""


@pytest.fixture(scope="module")
def parent(tmp_path_factory):
    folder = tmp_path_factory.mktemp("preload")
    (folder / "looking.py").write_text(CHILD)
    before = os.environ.get("PYTHONPATH", "")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(folder), before]))
    parent = PreloadedParent(folder, bare=False, modules=("transformers.models.llama.modeling_llama", "no.such.module"))
    try:
        parent.ensure()
        yield parent
    finally:
        parent.close()
        os.environ["PYTHONPATH"] = before


def test_it_has_everything_imported_and_leaves_cuda_alone(parent):
    assert parent.facts["cuda"] is False
    assert list(parent.facts["missing"]) == ["no.such.module"]
    assert parent.facts["missing"]["no.such.module"].startswith("ModuleNotFoundError")


def test_a_fork_finds_it_all_there(parent, tmp_path):
    pid = parent.fork({"folder": str(tmp_path), "entry": "looking:look", "environment": {}})
    parent.go(pid)
    assert parent.wait(60)["status"] == 0
    facts = json.loads((tmp_path / "facts.json").read_text())
    assert {"torch", "transformers", "peft", "accelerate"} <= set(facts["libraries"])
    assert facts["model"]
    assert facts["cuda"] is False
    assert facts["threads_before"] == 1


def test_forks_leave_no_descriptors_or_memory_behind(parent, tmp_path):
    def held():
        return len(list(Path(f"/proc/{parent.pid}/fd").iterdir()))

    before = held()
    for _ in range(5):
        parent.go(parent.fork({"folder": str(tmp_path), "entry": "looking:look", "environment": {}}))
        assert parent.wait(60)["status"] == 0
    assert held() == before


@pytest.mark.parametrize("bare", [False, True])
def test_what_lies_in_the_present_folder_is_no_library(tmp_path, monkeypatch, bare):
    (tmp_path / "tokenizers.py").write_text("raise AssertionError('the wrong one')")
    monkeypatch.chdir(tmp_path)
    parent = PreloadedParent(tmp_path, bare=bare)
    try:
        parent.ensure()
        assert parent.facts["missing"] == {}
        parent.go(parent.fork({"folder": str(tmp_path), "entry": "tokenizers:Tokenizer", "environment": {}}))
        parent.wait(60)
    finally:
        parent.close()
    assert "the wrong one" not in (tmp_path / "log.txt").read_text()


def test_an_entry_point_that_is_not_there_fails_with_its_traceback(tmp_path, capsys):
    assert preload.run_entry(str(tmp_path), "no.such:main") == 1
    assert "ModuleNotFoundError" in capsys.readouterr().err


@pytest.mark.parametrize(("code", "status"), [(None, 0), (7, 7), ("words", 1)])
def test_sys_exit_is_an_exit_status(tmp_path, monkeypatch, code, status):
    monkeypatch.setattr(preload, "import_libraries", lambda _: sys.exit(code), raising=True)
    assert preload.run_entry(str(tmp_path), "autobatch.probe.preload:import_libraries") == status


def test_the_moments_of_starting_are_noted_in_order(tmp_path, monkeypatch):
    monkeypatch.setattr(preload, "import_libraries", lambda _: 0)
    assert preload.run_entry(str(tmp_path), "autobatch.probe.preload:import_libraries") == 0
    moments = json.loads((tmp_path / "entered.json").read_text())
    assert moments["process"] <= moments["imports"]


def test_questions_about_devices_are_answered_by_nvml_and_only_inside(monkeypatch):
    import torch

    monkeypatch.setattr(cuda_shim, "list_gpus", lambda: GPUS)
    original = torch.cuda.get_device_capability
    with cuda_shim.answers_from_nvml():
        assert torch.cuda.device_count() == 2
        assert torch.cuda.get_device_capability() == (9, 0)
        assert torch.cuda.get_device_capability("cuda:1") == (8, 6)
        assert torch.cuda.get_device_capability(torch.device("cuda", 1)) == (8, 6)
        properties = torch.cuda.get_device_properties(1)
        assert (properties.name, properties.total_memory, properties.major) == ("second", 24 << 30, 8)
    assert torch.cuda.get_device_capability is original
    assert not torch.cuda.is_initialized()


def test_without_a_gpu_nothing_is_changed(monkeypatch):
    import torch

    monkeypatch.setattr(cuda_shim, "list_gpus", list)
    original = torch.cuda.device_count
    with cuda_shim.answers_from_nvml():
        assert torch.cuda.device_count is original
