"""Tools that autobatch does not need read its exports by their own parsers, whatever was chosen.

`make install` puts the tools beside the environment, so each parses in a process of its own.
"""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from autobatch.export.frozen import load, save
from autobatch.settings import SETTINGS

PARSERS = Path(sys.prefix, "parsers")
# parsing is the same on every machine where no GPU is seen
OFFLINE = {"CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1", "AXOLOTL_DO_NOT_TRACK": "1"}

NOT_THERE = "axolotl, DeepSpeed and LLaMA-Factory are not beside the environment: `make install` puts them there"

pytestmark = pytest.mark.skipif(not PARSERS.is_dir(), reason=NOT_THERE)


@pytest.fixture
def every_choice(chosen):
    """Each choice of each setting on top of a LoRA in bf16, and the four methods."""
    base = chosen.configuration.replace(method="lora")
    changes = [{name: choice} for name, setting in SETTINGS.items() for choice in setting.choices]
    full = [{"method": "full", "precision": precision} for precision in SETTINGS["precision"].choices]
    return [replace(chosen, configuration=base.replace(change)) for change in (*changes, *full)]


@pytest.fixture
def parsed_by(tmp_path):
    def parse(tool, choices, **environment):
        files = [tmp_path / f"{number}.{'json' if tool == 'deepspeed' else 'yaml'}" for number in range(len(choices))]
        for choice, file in zip(choices, files, strict=True):
            save(choice, file, tool)
        run(tool, tmp_path / "parsed", files, environment)
        return [(load(file).settings, parsed) for file, parsed in zip(files, read(tmp_path / "parsed"), strict=True)]

    return parse


def run(tool, out, files, environment):
    command = [sys.executable, Path(__file__).with_name("parse.py"), tool, out, *files]
    env = {**os.environ, **OFFLINE, **environment, "PYTHONPATH": str(PARSERS)}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=280)
    assert done.returncode == 0, done.stderr


def read(path):
    return json.loads(path.read_text())


def test_axolotl_takes_every_choice(every_choice, parsed_by):
    for settings, parsed in parsed_by("axolotl", every_choice):
        assert {key: parsed.get(key) for key in settings} == settings, parsed.get("error")


def test_deepspeed_takes_every_choice(every_choice, parsed_by):
    over_two = [replace(choice, devices=2) for choice in every_choice]

    for settings, parsed in parsed_by("deepspeed", over_two, WORLD_SIZE="2"):
        assert parsed == settings


def test_llamafactory_takes_every_choice(every_choice, parsed_by):
    # it asks for older libraries than these unless it is told not to
    for settings, parsed in parsed_by("llamafactory", every_choice, DISABLE_VERSION_CHECK="1"):
        expected = {**settings, "dataloader_pin_memory": False}  # transformers pins nothing on a CPU
        if "lora_target" in settings:
            expected["lora_target"] = [settings["lora_target"]]
        assert {key: parsed.get(key) for key in settings} == expected, parsed.get("error")
