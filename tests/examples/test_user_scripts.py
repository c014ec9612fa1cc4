import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from autobatch.probe.script_workload import look

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def data(tmp_path):
    path = tmp_path / "data.jsonl"
    rows = ({"text": f"return number {i} " * (1 + i % 9), "summary": f"Return {i}."} for i in range(60))
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def look_at(name, data, *more):
    out = str(data.parent / "out")
    command = ["python", str(EXAMPLES / name), "--data", str(data), "--samples", "60", "--output_dir", out, *more]
    return look([*command, "--per_device_train_batch_size", "4", "--gradient_accumulation_steps", "3"], "cpu").workload


@pytest.mark.skipif(importlib.util.find_spec("datasets") is None, reason="the script needs datasets")
def test_a_seq2seq_script_is_understood_as_it_is(data):
    workload = look_at("user_seq2seq.py", data)

    assert (workload.model.family, workload.method) == ("seq2seq", "full")
    assert workload.effective_batch == 12
    assert workload.train_samples == 57
    assert workload.lengths.target
    assert not (data.parent / "out").exists()


@pytest.mark.skipif(importlib.util.find_spec("trl") is None, reason="the script needs TRL")
def test_a_trl_script_is_understood_as_it_is(data):
    workload = look_at("user_trl_sft.py", data, "--qlora", "True")

    assert (workload.model.family, workload.method) == ("causal", "lora")
    assert (workload.lora.r, workload.lora.alpha) == (8, 16)
    assert "q_proj" in workload.lora.target_modules
    assert workload.effective_batch == 12
    assert not workload.lengths.target
    assert not (data.parent / "out").exists()


@pytest.mark.parametrize("name", ["plain_loop.py", "accelerate_loop.py"])
def test_a_loop_trains_outside_a_search(name):
    done = subprocess.run([sys.executable, EXAMPLES / name], capture_output=True, text=True, timeout=200, check=True)

    assert "trained" in done.stdout


def test_a_loop_tells_its_effective_batch():
    assert look(["python", str(EXAMPLES / "accelerate_loop.py")], "cpu").workload.effective_batch == 64
