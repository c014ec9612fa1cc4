"""What each format says; the parsers of the packages that autobatch itself needs read theirs."""

import json
import subprocess
from dataclasses import replace

import pytest
import yaml

from autobatch.export import targets
from autobatch.export.frozen import save
from autobatch.settings import SETTINGS

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(params=["full", "lora", "int8", "nf4"])
def each(request, chosen):
    method = "full" if request.param == "full" else "lora"
    quantization = request.param if request.param in {"int8", "nf4"} else "none"
    values = {"method": method, "quantization": quantization, "precision": "fp32" if method == "full" else "bf16"}
    return replace(chosen, configuration=chosen.configuration.replace(values))


@pytest.fixture
def written(tmp_path):
    def write(chosen, target):
        path = tmp_path / ("file.json" if target == "deepspeed" else "file.yaml")
        save(chosen, path, target)
        return path

    return write


def test_transformers_parses_its_own(each, written):
    transformers = pytest.importorskip("transformers")
    path = written(each, "hf")

    (arguments,) = transformers.HfArgumentParser((transformers.TrainingArguments,)).parse_yaml_file(str(path))

    assert arguments.per_device_train_batch_size == 4
    assert arguments.gradient_accumulation_steps == 4
    assert arguments.per_device_eval_batch_size == 32
    assert arguments.dataloader_num_workers == 3
    assert arguments.bf16 is (each.configuration["precision"] == "bf16")
    assert arguments.activation_checkpointing is True


def test_trl_parses_its_own(each, written):
    trl = pytest.importorskip("trl")
    path = written(each, "trl")

    parser = trl.TrlParser((trl.SFTConfig, trl.ModelConfig))
    arguments, model = parser.parse_args_and_config(["--config", str(path)], fail_with_unknown_args=True)

    assert arguments.per_device_train_batch_size == 4
    assert arguments.bf16 is (each.configuration["precision"] == "bf16")
    assert arguments.activation_checkpointing is True
    assert model.use_peft is (each.configuration["method"] == "lora")
    assert model.load_in_4bit is (each.configuration["quantization"] == "nf4")
    assert model.load_in_8bit is (each.configuration["quantization"] == "int8")
    assert model.attn_implementation == "sdpa"
    assert not model.use_peft or (model.lora_r, model.lora_alpha) == (8, 16)


def test_trl_quantises_as_the_probe_does(qlora, written):
    trl = pytest.importorskip("trl")
    torch = pytest.importorskip("torch")
    from autobatch.probe.quantize import quantization_config

    parser = trl.TrlParser((trl.SFTConfig, trl.ModelConfig))
    _, model = parser.parse_args_and_config(["--config", str(written(qlora, "trl"))])

    ours = quantization_config("nf4", torch.bfloat16)
    assert trl.get_quantization_config(model).to_dict() == ours.to_dict()


@pytest.mark.parametrize("method", SETTINGS["method"].choices)
@pytest.mark.parametrize("precision", SETTINGS["precision"].choices)
def test_trl_loads_the_base_in_the_type_of_the_probe(chosen, method, precision):
    build = pytest.importorskip("autobatch.probe.build")
    values = chosen.configuration.replace(method=method, precision=precision)

    settings = targets.get("trl").settings(replace(chosen, configuration=values))

    assert f"torch.{settings['dtype']}" == str(build.base_dtype(values))


def test_trl_is_told_what_it_would_take_as_on(chosen, written):
    off = replace(chosen, configuration=chosen.configuration.replace(precision="fp32", gradient_checkpointing=False))

    settings = yaml.safe_load(written(off, "trl").read_text())

    assert settings["bf16"] is False
    assert settings["activation_checkpointing"] is False


@pytest.mark.parametrize(("precision", "devices"), [("fp32", 1), ("bf16", 2), ("fp16", 1), ("tf32", 1)])
def test_accelerate_parses_its_own(chosen, written, precision, devices):
    config_args = pytest.importorskip("accelerate.commands.config.config_args")
    values = chosen.configuration.replace(precision=precision, torch_compile=precision == "bf16")
    path = written(replace(chosen, configuration=values, devices=devices), "accelerate")

    loaded = config_args.load_config_from_file(str(path))

    assert loaded.mixed_precision == (precision if precision in {"bf16", "fp16"} else "no")
    assert loaded.num_processes == devices
    assert loaded.distributed_type.value == ("MULTI_GPU" if devices > 1 else "NO")


def test_deepspeeds_rules_are_kept(each, written):
    settings = json.loads(written(replace(each, devices=2), "deepspeed").read_text())

    product = settings["train_micro_batch_size_per_gpu"] * settings["gradient_accumulation_steps"] * 2
    assert settings["train_batch_size"] == product == 32
    assert not (settings["bf16"]["enabled"] and settings["fp16"]["enabled"])


@pytest.mark.parametrize(
    ("recipe", "clipped"), [({}, 1.0), ({"max_grad_norm": 0.3}, 0.3), ({"max_grad_norm": None}, 0)]
)
def test_deepspeed_clips_as_the_trainer_does(chosen, written, recipe, clipped):
    workload = replace(chosen.workload, recipe=recipe)

    settings = json.loads(written(replace(chosen, workload=workload), "deepspeed").read_text())

    assert settings["gradient_clipping"] == clipped


def test_accelerate_takes_the_deepspeed_file(chosen, written):
    integration = pytest.importorskip("accelerate.utils.deepspeed")

    config = integration.HfDeepSpeedConfig(str(written(chosen, "deepspeed")))

    assert config.get_value("train_batch_size") == 16


def test_llamafactory_has_checkpointing_under_its_own_name(chosen, written):
    settings = yaml.safe_load(written(chosen, "llamafactory").read_text())

    assert settings["disable_gradient_checkpointing"] is False
    assert not [key for key in settings if key.startswith(("gradient_checkpointing", "activation_checkpointing"))]


@pytest.mark.parametrize("attention", ["flash_attention_3", "flex_attention", "flash_attention_2"])
def test_an_attention_that_llamafactory_cannot_name_is_said(chosen, attention):
    other = replace(chosen, configuration=chosen.configuration.replace(attn_implementation=attention))

    unnamed = targets.get("llamafactory").settings(other)["flash_attn"] == "auto"

    assert unnamed is (attention != "flash_attention_2")
    assert ("attn_implementation" in targets.get("llamafactory").elsewhere(other)) is unnamed


@pytest.mark.parametrize("target", ["accelerate", "deepspeed"])
@pytest.mark.parametrize("precision", SETTINGS["precision"].choices)
def test_a_launcher_leaves_the_precisions_of_32_bits_to_the_script(chosen, target, precision):
    other = replace(chosen, configuration=chosen.configuration.replace(precision=precision))

    said = targets.get(target).elsewhere(other)

    assert said.get("precision") == (precision if precision in {"fp32", "tf32"} else None)


@pytest.mark.parametrize("precision", SETTINGS["precision"].choices)
def test_axolotl_has_tf32_where_it_was_measured(chosen, precision):
    other = replace(chosen, configuration=chosen.configuration.replace(precision=precision))

    assert targets.get("axolotl").settings(other)["tf32"] is (precision == "tf32")


def test_axolotl_is_said_to_halve_the_weights_of_a_whole_model(chosen, qlora):
    whole = replace(chosen, configuration=chosen.configuration.replace(precision="fp32"))

    assert targets.get("axolotl").elsewhere(chosen)["dtype"] == "float32"
    assert not any("dtype" in targets.get("axolotl").elsewhere(other) for other in (qlora, whole))


def test_axolotl_names_an_adapter_by_its_base(qlora, chosen):
    assert targets.get("axolotl").settings(qlora)["adapter"] == "qlora"
    assert "adapter" not in targets.get("axolotl").settings(chosen)


def test_lora_and_checkpointing_are_of_the_kind_that_was_measured(qlora):
    axolotl = targets.get("axolotl").settings(qlora)

    assert axolotl["gradient_checkpointing_kwargs"] == {"use_reentrant": False}
    assert not any(axolotl[f"lora_{part}_kernel"] for part in ("mlp", "qkv", "o", "embedding"))
    assert targets.get("llamafactory").settings(qlora)["use_reentrant_gc"] is False


def test_the_scales_are_not_quantised_as_they_were_not(qlora):
    assert targets.get("axolotl").settings(qlora)["bnb_config_kwargs"] == {"bnb_4bit_use_double_quant": False}
    assert targets.get("llamafactory").settings(qlora)["double_quantization"] is False


def test_the_shell_reads_the_variables(qlora, written):
    path = written(qlora, "env")
    command = f"set -a; . {path}; set +a; printenv AUTOBATCH_PER_DEVICE_TRAIN_BATCH_SIZE PYTORCH_ALLOC_CONF"

    out = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True, timeout=30)

    assert out.stdout.split() == ["4", "expandable_segments:True"]


@pytest.mark.parametrize("target", targets.NAMES)
def test_what_a_format_cannot_say_is_said_in_its_head(qlora, tmp_path, target):
    path = tmp_path / "file"
    save(qlora, path, target)
    head = path.with_name("file.autobatch.yaml") if target == "deepspeed" else path

    elsewhere = targets.get(target).elsewhere(qlora)

    assert all(f"{key}={value}" in head.read_text() for key, value in elsewhere.items())
    assert ("quantization" in elsewhere) == (target in {"hf", "accelerate", "deepspeed"})


def test_a_script_keeps_the_model_that_it_makes(qlora):
    script = replace(qlora, workload=replace(qlora.workload, script=("python", "train.py")))

    keys = targets.get("trl").settings(script)

    assert not {"use_peft", "lora_r", "load_in_4bit", "attn_implementation"} & keys.keys()
    assert keys["per_device_train_batch_size"] == 4
    assert script.model_settings == {"pytorch_alloc_conf": "expandable_segments:True"}


@pytest.fixture
def loop(chosen):
    """What was chosen for a loop that asks for three settings."""
    taken = ("per_device_train_batch_size", "gradient_accumulation_steps", "dataloader_num_workers")
    return replace(chosen, workload=replace(chosen.workload, script=("loop.py",), taken=taken))


OF_A_LOOP = {
    "hf": {
        "per_device_train_batch_size",
        "gradient_accumulation_steps",
        "dataloader_num_workers",
        "dataloader_persistent_workers",
    },
    "axolotl": {"micro_batch_size", "gradient_accumulation_steps", "dataloader_num_workers"},
    "deepspeed": {
        "train_batch_size",
        "train_micro_batch_size_per_gpu",
        "gradient_accumulation_steps",
        "zero_optimization",
    },
    "accelerate": {
        "compute_environment",
        "distributed_type",
        "num_machines",
        "machine_rank",
        "num_processes",
        "use_cpu",
    },
    "env": {
        "AUTOBATCH_PER_DEVICE_TRAIN_BATCH_SIZE",
        "AUTOBATCH_GRADIENT_ACCUMULATION_STEPS",
        "AUTOBATCH_DATALOADER_NUM_WORKERS",
        "AUTOBATCH_PYTORCH_ALLOC_CONF",
        "AUTOBATCH_CUDNN_ATTENTION",
    },
}
OF_A_LOOP |= dict.fromkeys(("trl", "llamafactory"), OF_A_LOOP["hf"])


@pytest.mark.parametrize("target", targets.NAMES)
def test_no_format_tells_a_loop_what_it_never_asked_for(loop, target):
    said = targets.get(target).settings(loop)

    assert said.keys() - loop.environment.keys() == OF_A_LOOP[target]


def test_a_launcher_s_file_names_elsewhere_what_a_loop_asks_for_alone(loop):
    assert targets.get("accelerate").elsewhere(loop).keys() - {"pytorch_alloc_conf", "cudnn_attention"} == {
        "per_device_train_batch_size",
        "gradient_accumulation_steps",
        "dataloader_num_workers",
    }


OF_TRAINING = ("train_batch", "micro_batch", "accumulation", "checkpointing", "optimizer", "sampling", "clipping")


@pytest.mark.parametrize("target", targets.NAMES)
def test_of_inference_no_format_holds_what_is_of_training(inference, target):
    said = {name.lower() for name in targets.get(target).settings(inference)}

    assert [name for name in said if any(part in name for part in OF_TRAINING)] == []
    assert not {"optim", "autobatch_optim"} & said
    known = {name.lower() for name in targets.get(target).elsewhere(inference)} | said
    assert [name for name in known if "eval_batch_size" in name]


def test_of_inference_the_loader_precision_and_device_stay(inference):
    said = targets.get("hf").settings(inference)

    assert (said["bf16"], said["dataloader_num_workers"], said["use_cpu"]) == (True, 3, True)
