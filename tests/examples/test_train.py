import json
import subprocess
import sys
from pathlib import Path

import pytest

from autobatch.export.chosen import Chosen
from autobatch.export.frozen import save
from autobatch.machine import fingerprint
from autobatch.settings import Configuration
from autobatch.verdict import Measurements
from autobatch.workload.spec import Lengths, Model, Workload

ROOT = Path(__file__).parents[2]
SHAPE = {"model_type": "gpt2", "vocab_size": 64, "n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 64}


@pytest.fixture
def file(tmp_path):
    workload = Workload(Model("toy", "toy/toy", "causal", SHAPE), lengths=Lengths((4, 8, 16)), max_source_length=16)
    configuration = Configuration(
        per_device_train_batch_size=2, gradient_accumulation_steps=2, dataloader_num_workers=0
    )
    machine = {**fingerprint.read("cpu").to_dict(), "cores": 999}
    path = tmp_path / "best.yaml"
    save(Chosen("toy", 1, configuration, Measurements(step_s=1e-9, samples_per_s=1.0), workload, machine), path)
    return path


def run(*arguments):
    command = [sys.executable, str(ROOT / "examples" / "train.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=250, check=False)


def test_it_trains_on_real_text_and_prints_its_figures_beside_the_promise(file, tmp_path):
    text = tmp_path / "data.jsonl"
    text.write_text("".join(json.dumps({"text": f"sample number {i} of many"}) + "\n" for i in range(64)))
    figures = tmp_path / "figures.json"

    done = run(file, "--data", text, "--max-steps", 14, "--json", figures, "--output", tmp_path / "out")

    found = json.loads(figures.read_text())
    assert done.returncode == 0, done.stderr
    assert found["steps"] == 14
    assert found["step_s"] > 0
    assert found["samples_per_s"] == pytest.approx(4 / found["step_s"])
    assert found["warned"] == ["time"]
    assert "cores: 999 ->" in done.stderr
    assert "s/step" in done.stdout
    assert (tmp_path / "out" / "model.safetensors").exists()


def test_a_file_that_is_not_frozen_is_said(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("a: 1\n")

    done = run(path)

    assert done.returncode == 1
    assert "no frozen file" in done.stderr
    assert "Traceback" not in done.stderr
