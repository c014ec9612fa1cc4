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
from autobatch.workload.spec import Lora

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
    def merge(chosen, text, target="hf", *, said=True):
        path = tmp_path / "mine.yaml"
        path.write_text(text)
        result = into_file.prepare(chosen, path, target, said=said)
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


def test_owner_mode_and_byte_order_mark_are_kept(cpu, merged, tmp_path, monkeypatch):
    given = []
    monkeypatch.setattr("os.chown", lambda _, user, group: given.append((user, group)))
    mine = tmp_path / "mine.yaml"
    mine.touch(0o600)
    path, result = merged(cpu, "\ufeffbf16: false  # \uae00\n")

    assert path.read_bytes().startswith(b"\xef\xbb\xbfbf16: true  # ")
    assert "\ufeff" not in result.diff
    assert path.stat().st_mode & 0o777 == 0o600
    assert given == [(os.getuid(), os.getgid())]


def test_where_the_owner_cannot_be_kept_the_group_is(cpu, merged, monkeypatch):
    given = []

    def chown(_, user, group):
        given.append((user, group))
        raise PermissionError

    monkeypatch.setattr("os.chown", chown)
    path, _ = merged(cpu, "bf16: false\n")

    assert yaml.safe_load(path.read_text())["bf16"] is True
    assert given == [(os.getuid(), os.getgid()), (-1, os.getgid())]


def test_what_a_frozen_file_says_of_the_settings_is_said_here_too(qlora, merged):
    workload = replace(qlora.workload, recipe_batch=32)
    _, result = merged(replace(qlora, workload=workload, evidence={"confirmed": False}), "bf16: false\n", said=False)

    said = "\n".join(result.remarks)
    assert "not confirmed in a longer one" in said
    assert "The effective batch is 16 in place of 32" in said
    assert "OMP_WAIT_POLICY=passive" in said
    assert "Not in this format, set elsewhere: method=lora, quantization=nf4" in said
    assert "Frozen by" not in said
    assert "Promised" not in said


def test_of_inference_the_training_batch_is_said_to_be_unmeasured(inference, merged):
    _, result = merged(inference, "bf16: false\n", said=False)

    assert "nothing was trained. Left out, as they were not measured: per_device" in result.remarks[0]


@pytest.mark.parametrize("target", ["hf", "axolotl", "llamafactory"])
def test_a_choice_for_inference_leaves_a_persons_own_training_as_it_is(inference, merged, target):
    mine = "gradient_accumulation_steps: 99\nmicro_batch_size: 99\nper_device_train_batch_size: 99\noptim: sgd\n"
    path, _ = merged(inference, mine, target)

    assert path.read_text().startswith(mine)
    assert "eval_batch_size: 32" in path.read_text()


def test_what_works_against_a_choice_for_inference_is_said(inference, merged):
    _, result = merged(inference, "pure_bf16: true\n")

    assert result.remarks[0].startswith("pure_bf16 is set")


def test_no_section_acts_on_the_terminal(cpu, merged):
    path, result = merged(cpu, '"\\e[31mred": {bf16: false}\n')

    said = into_file.report(result, path, dry_run=False)

    assert "The section \ufffd[31mred has bf16" in said


@pytest.mark.parametrize("flag", ["flash_attention: true", "sdp_attention: true", "eager_attention: false"])
def test_axolotls_former_switches_give_way(chosen, merged, flag):
    path, _ = merged(chosen, f"base_model: x\n{flag}\n", "axolotl")

    settings = yaml.safe_load(path.read_text())
    assert settings["attn_implementation"] == "sdpa"
    assert flag.partition(":")[0] not in settings


def test_trl_takes_no_other_base_than_was_measured(chosen, qlora, merged, tmp_path):
    trl = pytest.importorskip("trl")
    mine = f"output_dir: {tmp_path}\nuse_peft: true\nload_in_8bit: true\ntorch_dtype: auto\n"

    parser = trl.TrlParser((trl.SFTConfig, trl.ModelConfig))
    models = [
        parser.parse_args_and_config(["--config", str(merged(choice, mine, "trl")[0])])[1] for choice in (chosen, qlora)
    ]

    found = [(model.use_peft, model.load_in_4bit, model.load_in_8bit, model.dtype) for model in models]
    assert found == [(False, False, False, "float32"), (True, True, False, "bfloat16")]


@pytest.mark.parametrize(
    ("target", "keys"),
    [
        ("hf", ["torch_compile_mode", "torch_compile_backend"]),
        ("trl", ["packing", "eval_packing", "padding_free"]),
        ("llamafactory", ["packing", "neat_packing"]),
        ("axolotl", ["sample_packing", "eval_sample_packing", "liger_rms_norm"]),
    ],
)
def test_what_was_not_measured_is_said(chosen, merged, target, keys):
    _, result = merged(chosen, "".join(f"{key}: true\n" for key in keys), target)

    assert [remark.partition(" is set")[0] for remark in result.remarks] == keys


@pytest.mark.parametrize("checkpointing", [False, True])
def test_llamafactory_has_its_own_switches_alone(chosen, merged, checkpointing):
    other = replace(chosen, configuration=chosen.configuration.replace(gradient_checkpointing=checkpointing))

    path, _ = merged(other, "gradient_checkpointing: true\nuse_liger_kernel: true\n", "llamafactory")

    settings = yaml.safe_load(path.read_text())
    assert not {"gradient_checkpointing", "use_liger_kernel"} & settings.keys()
    assert settings["disable_gradient_checkpointing"] is not checkpointing
    assert settings["enable_liger_kernel"] is False


def test_what_a_list_loses_is_said(chosen, merged):
    liger = replace(chosen, configuration=chosen.configuration.replace(use_liger_kernel=True))

    _, result = merged(liger, "plugins:\n  - my.Plugin\n  - axolotl.integrations.liger.LigerPlugin\n", "axolotl")

    assert result.remarks == ("plugins no longer lists my.Plugin, which was not there when this was measured.",)


PARSERS = Path(sys.prefix, "parsers")


@pytest.mark.skipif(not PARSERS.is_dir(), reason="axolotl is not beside the environment: `make install` puts it there")
def test_axolotl_reads_what_was_measured(qlora, merged, tmp_path):
    listed = replace(qlora, workload=replace(qlora.workload, lora=Lora(target_modules=("q_proj",))))
    mine = "flash_attention: true\nsdp_attention: true\nbatch_size: 32\nlora_target_linear: true\n"
    path, _ = merged(listed, mine, "axolotl")
    command = [sys.executable, str(Path(__file__).with_name("parse.py")), "axolotl", str(tmp_path / "out"), str(path)]
    offline = {"CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1", "AXOLOTL_DO_NOT_TRACK": "1"}

    subprocess.run(command, env={**os.environ, **offline, "PYTHONPATH": str(PARSERS)}, check=True, timeout=280)

    (parsed,) = json.loads((tmp_path / "out").read_text())
    assert parsed.get("attn_implementation") == "sdpa", parsed.get("error")
    assert (parsed["gradient_accumulation_steps"], parsed["lora_target_linear"]) == (4, False)
    assert parsed["bnb_config_kwargs"] == {"bnb_4bit_use_double_quant": False}


def test_accelerate_is_asked_for_the_cpu_where_it_was_measured(chosen, merged):
    gpu = replace(chosen, machine={**chosen.machine, "device": "cuda:0"})

    assert yaml.safe_load(merged(chosen, "", "accelerate")[0].read_text())["use_cpu"] is True
    assert yaml.safe_load(merged(gpu, "", "accelerate")[0].read_text())["use_cpu"] is False


def test_a_loop_s_file_gets_no_key_that_it_never_asked_for(chosen, merged):
    loop = replace(chosen, workload=replace(chosen.workload, taken=("per_device_train_batch_size",)))

    path, result = merged(loop, "use_cpu: true\nper_device_train_batch_size: 1\n", said=False)

    assert path.read_text() == "use_cpu: true\nper_device_train_batch_size: 4\n"
    assert result.remarks[0].startswith("Left out, as the loop never asked for them: gradient_accumulation_steps, ")
