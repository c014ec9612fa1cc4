"""Merged files are read by the tools' own parsers, if they were before."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from autobatch.export import into_file

OLD = """\
output_dir: {folder}
{extra}
dataloader_num_workers: 4
dataloader_prefetch_factor: 8
dataloader_persistent_workers: true
gradient_checkpointing: false
deepspeed_of_mine: {{bf16: false}}
"""


@pytest.fixture
def cpu(chosen):
    return replace(chosen, configuration=chosen.configuration.replace(dataloader_num_workers=0))


@pytest.fixture
def merged(tmp_path):
    def merge(chosen, text, target="hf"):
        path = tmp_path / "mine.yaml"
        path.write_text(text)
        result = into_file.prepare(chosen, path, target)
        into_file.apply(result, path)
        return path, result

    return merge


@pytest.mark.parametrize(
    "extra",
    [
        "group_by_length: true",
        "per_gpu_train_batch_size: 8\nper_gpu_eval_batch_size: 8",
        "no_cuda: true",
        "use_cpu: true",
    ],
)
def test_transformers_reads_what_is_merged(cpu, merged, tmp_path, extra):
    transformers = pytest.importorskip("transformers")
    path, _ = merged(cpu, OLD.format(folder=tmp_path, extra=extra))
    parser = transformers.HfArgumentParser((transformers.TrainingArguments,))

    settings = {k: v for k, v in yaml.safe_load(path.read_text()).items() if k != "deepspeed_of_mine"}
    (parsed,) = parser.parse_dict(settings)

    expected = {**cpu.training_arguments(), "dataloader_pin_memory": False}  # transformers pins nothing on a CPU
    assert {key: getattr(parsed, key) for key in expected} == expected


@pytest.mark.parametrize("key", ["auto_find_batch_size", "pure_bf16", "tf32"])
def test_what_works_against_the_settings_is_said(cpu, merged, key):
    path, result = merged(cpu, f"{key}: true\n")

    assert [remark for remark in result.remarks if remark.startswith(f"{key} is set")]
    assert yaml.safe_load(path.read_text())[key] is True


@pytest.mark.parametrize("flag", ["flash_attention: true", "sdp_attention: true", "eager_attention: false"])
def test_axolotls_former_switches_give_way(chosen, merged, flag):
    path, _ = merged(chosen, f"base_model: x\n{flag}\n", "axolotl")

    settings = yaml.safe_load(path.read_text())
    assert settings["attn_implementation"] == "sdpa"
    assert flag.partition(":")[0] not in settings


PARSERS = Path(sys.prefix, "parsers")


@pytest.mark.skipif(not PARSERS.is_dir(), reason="axolotl is not beside the environment: `make install` puts it there")
def test_axolotl_reads_the_measured_attention(chosen, merged, tmp_path):
    path, _ = merged(chosen, "base_model: x\nflash_attention: true\nsdp_attention: true\n", "axolotl")
    command = [sys.executable, str(Path(__file__).with_name("parse.py")), "axolotl", str(tmp_path / "out"), str(path)]
    offline = {"CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1", "AXOLOTL_DO_NOT_TRACK": "1"}

    subprocess.run(command, env={**os.environ, **offline, "PYTHONPATH": str(PARSERS)}, check=True, timeout=280)

    (parsed,) = json.loads((tmp_path / "out").read_text())
    assert parsed.get("attn_implementation") == "sdpa", parsed.get("error")


def test_accelerate_is_asked_for_the_cpu_where_it_was_measured(chosen, merged):
    gpu = replace(chosen, machine={**chosen.machine, "device": "cuda:0"})

    assert yaml.safe_load(merged(chosen, "", "accelerate")[0].read_text())["use_cpu"] is True
    assert yaml.safe_load(merged(gpu, "", "accelerate")[0].read_text())["use_cpu"] is False
