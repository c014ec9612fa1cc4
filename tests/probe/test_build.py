"""Models of a probe: shapes, types, what is trained."""

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from autobatch.probe.build import build_model
from autobatch.probe.skeleton import parameter_count
from autobatch.settings import Configuration
from autobatch.workload.spec import Lora, Model, Workload

ARCHITECTURES = ["bart", "t5", "mt5", "llama", "qwen3", "gpt_neox"]
CPU = torch.device("cpu")


def loss_of(model):
    ids = torch.randint(4, 100, (2, 9))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return model(input_ids=ids, labels=ids).loss


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_full_training_has_fp32_weights_all_trained(name, workload):
    model = build_model(workload(name), Configuration(precision="bf16"), CPU)

    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert all(p.requires_grad and not p.is_meta for p in model.parameters())
    assert not any(b.is_meta for b in model.buffers())
    assert loss_of(model).isfinite()


@pytest.mark.parametrize(
    ("precision", "dtype"),
    [("fp32", torch.float32), ("tf32", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16)],
)
def test_an_adapter_is_fp32_on_a_frozen_base_in_the_precision(precision, dtype, workload):
    model = build_model(workload("llama"), Configuration(method="lora", precision=precision), CPU)

    assert {p.dtype for p in model.parameters() if p.requires_grad} == {torch.float32}
    assert {p.dtype for p in model.parameters() if not p.requires_grad} == {dtype}


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize(("quantization", "layer"), [("nf4", "Linear4bit"), ("int8", "Linear8bitLt")])
def test_a_quantised_base_is_frozen_and_its_head_is_not_quantised(name, quantization, layer, workload):
    configuration = Configuration(method="lora", quantization=quantization, precision="bf16")

    model = build_model(workload(name), configuration, CPU)

    base = model.get_base_model()
    kinds = {n: type(getattr(m, "base_layer", m)).__name__ for n, m in base.named_modules() if "lora" not in n}
    quantised = [n for n, kind in kinds.items() if kind == layer]
    assert quantised
    assert type(base.get_output_embeddings()) is torch.nn.Linear
    assert not [n for n in quantised if n.endswith(".wo")]
    assert all("lora" in n for n, p in model.named_parameters() if p.requires_grad)
    loss = loss_of(model)
    loss.backward()
    assert loss.isfinite()


def test_quantisation_keeps_the_parameter_count(workload):
    plain = build_model(workload("llama"), Configuration(method="lora"), CPU)
    quantised = build_model(workload("llama"), Configuration(method="lora", quantization="nf4"), CPU)

    assert parameter_count(quantised) == parameter_count(plain)


def test_named_modules_and_saved_ones_are_trained(workload):
    lora = Lora(r=4, target_modules=("q_proj",), modules_to_save=("lm_head",))
    untied = workload("llama")
    untied = Workload(Model(**{**vars(untied.model), "config": {**untied.model.config, "tie_word_embeddings": False}}))

    model = build_model(Workload(untied.model, lora=lora), Configuration(method="lora", precision="fp16"), CPU)

    trained = {n for n, p in model.named_parameters() if p.requires_grad}
    assert any("lm_head" in n for n in trained)
    assert {n.split(".lora_")[0].rpartition(".")[2] for n in trained if "lora" in n} == {"q_proj"}
    assert {p.dtype for p in model.parameters() if p.requires_grad} == {torch.float32}


@pytest.mark.parametrize("quantization", ["none", "nf4"])
def test_weights_on_disk_are_the_ones_used(quantization, tmp_path, workload):
    config = dict(workload("llama").model.config)
    real = AutoModelForCausalLM.from_config(AutoConfig.for_model(config.pop("model_type"), **config))
    real.save_pretrained(tmp_path)
    model = Model("mine", "me/mine", "causal", {"model_type": "llama", **config}, path=str(tmp_path))
    method = "full" if quantization == "none" else "lora"

    built = build_model(Workload(model), Configuration(method=method, quantization=quantization), CPU)

    base = built.get_base_model() if method == "lora" else built
    assert torch.equal(base.get_input_embeddings().weight, real.get_input_embeddings().weight)
    assert base.config.pad_token_id is not None


def test_a_folder_without_weights_gives_random_ones_of_its_shape(tmp_path, workload):
    config = dict(workload("qwen3").model.config)
    AutoConfig.for_model(config.pop("model_type"), **config).save_pretrained(tmp_path)

    built = build_model(Workload(Model("mine", "me/mine", "causal", path=str(tmp_path))), Configuration(), CPU)

    assert built.config.model_type == "qwen3"
    assert built.config.hidden_size == 32
