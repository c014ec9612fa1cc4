"""Laws that a prediction must obey, and anchors measured on an H100 with a bare loop."""

from dataclasses import replace

import pytest

from autobatch.estimate import memory
from autobatch.settings import Configuration
from autobatch.workload import presets
from autobatch.workload.spec import Lora

BARE = memory.Loop(embeddings_full=False, nested_scales=True, smooths_labels=False, accumulates=False)
KOBART = presets.load("kobart")
LLAMA = replace(presets.load("llama-3.2-korean-3b"), lora=Lora(r=16))


def predicted(workload=KOBART, batch=8, **settings):
    configuration = Configuration(per_device_train_batch_size=batch, **{"precision": "bf16", **settings})
    return memory.predict(workload, configuration, source_tokens=256, target_tokens=64)


@pytest.mark.parametrize(
    ("workload", "tokens", "settings", "allocated", "reserved"),
    [
        (KOBART, (512, 128), {"precision": "bf16", "per_device_train_batch_size": 64}, 14552, 15295),
        (KOBART, (512, 128), {"precision": "tf32", "per_device_train_batch_size": 64}, 19121, 19311),
        (
            LLAMA,
            (1024, 0),
            {"precision": "bf16", "method": "lora", "per_device_train_batch_size": 4, "gradient_checkpointing": True},
            13845,
            15922,
        ),
    ],
)
def test_anchors_in_megabytes(workload, tokens, settings, allocated, reserved):
    found = memory.predict(
        workload, Configuration(settings), source_tokens=tokens[0], target_tokens=tokens[1], loop=BARE
    )
    assert (found.bytes - found.parts["fragmentation"]) / 1e6 == pytest.approx(allocated, rel=0.005)
    assert found.bytes / 1e6 == pytest.approx(reserved, rel=0.04)


def test_parts_sum_to_the_whole():
    found = predicted()
    assert sum(found.parts.values()) == found.bytes
    assert found.used_bytes == found.bytes + memory.CONTEXT_BYTES


def test_parts_of_full_training_are_sixteen_bytes_a_parameter():
    parts = predicted(batch=1).parts
    states = parts["weights"] + parts["gradients"] + parts["optimizer"]
    assert states == pytest.approx(16 * 123_859_968, rel=0.01)


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("precision", ["bf16", "tf32"])
def test_within_an_arm_memory_is_affine(checkpointing, precision):
    def allocated(batch):
        found = predicted(batch=batch, precision=precision, gradient_checkpointing=checkpointing)
        return found.bytes - found.parts["fragmentation"]

    small, middle, large = map(allocated, (32, 64, 128))
    assert middle + 2 * (middle - small) == pytest.approx(large, rel=0.02)


def test_checkpointing_saves_memory_and_precision_of_activations_too():
    assert predicted(batch=64, gradient_checkpointing=True).bytes < 0.5 * predicted(batch=64).bytes
    assert predicted(batch=64).bytes < predicted(batch=64, precision="fp32").bytes


def test_fp16_needs_what_bf16_needs_and_tf32_what_fp32_needs():
    assert predicted().bytes == predicted(precision="fp16").bytes
    assert predicted(precision="tf32").bytes == predicted(precision="fp32").bytes


def test_optimizers_differ_by_their_state():
    def state(optim):
        return predicted(optim=optim).parts["optimizer"] / 123_859_968

    assert state("adamw_torch_fused") == pytest.approx(8, rel=0.02)
    embeddings = 23_040_000 / 123_859_968  # kept in 32 bits by the Trainer
    assert state("adamw_8bit") == pytest.approx(8 * embeddings + 2.03 * (1 - embeddings), rel=0.03)
    assert state("paged_adamw_8bit") < state("adamw_8bit") < state("adamw_torch_fused")
    assert state("adafactor") < 0.05


def test_a_quantised_base_is_a_quarter_and_the_head_stays():
    def weights(**settings):
        return predicted(LLAMA, 1, method="lora", **settings).parts["weights"]

    half, quantised = weights(), weights(quantization="nf4")
    linears = 2_818_572_288
    assert half - quantised == pytest.approx(linears * (2 - 0.5 - 4 / 64), rel=0.01)


def test_accumulation_keeps_gradients_through_the_next_forward_pass():
    once = predicted(batch=64)
    often = predicted(batch=64, gradient_accumulation_steps=4)
    assert often.bytes - often.parts["fragmentation"] > once.bytes - once.parts["fragmentation"] + 4e8


def test_liger_keeps_no_logits():
    plain, fused = (predicted(LLAMA, 4, method="lora", use_liger_kernel=liger) for liger in (False, True))
    logits = 4 * 256 * 128_256 * 12
    assert plain.parts["activations"] - fused.parts["activations"] > 0.7 * logits


def test_the_longest_sample_counts_unless_told():
    configuration = Configuration(precision="bf16", per_device_train_batch_size=4)
    source, target = memory.longest_tokens(KOBART)
    told = memory.predict(KOBART, configuration, source_tokens=source, target_tokens=target)
    assert memory.predict(KOBART, configuration) == told
    assert memory.predict(KOBART, configuration, source_tokens=source // 2, target_tokens=target).bytes < told.bytes


def test_an_unknown_architecture_is_less_certain():
    strange = replace(LLAMA.model, config={**LLAMA.model.config, "model_type": "brand_new"})
    unknown = predicted(replace(LLAMA, model=strange), 1, method="lora")
    assert unknown.rel_sigma > 3 * predicted(LLAMA, 1, method="lora").rel_sigma


def test_int8_layers_keep_their_inputs_in_spite_of_checkpointing():
    def activations(kind):
        settings = {"method": "lora", "quantization": kind, "gradient_checkpointing": True}
        return predicted(LLAMA, 8, **settings).parts["activations"]

    inputs = 8 * 256 * 28 * (3 * 3072 + 8192) * 2
    assert activations("int8") - activations("nf4") == pytest.approx(inputs, rel=0.1)


@pytest.mark.parametrize("name", [n for n in presets.names() if n in {"mt5-xlsum", "qwen3-4b"}])
def test_every_preset_is_predicted_in_every_arm(name):
    workload = presets.load(name)
    for quantization in ("none", "nf4", "int8"):
        found = predicted(workload, 1, method="lora", quantization=quantization, gradient_checkpointing=True)
        assert found.bytes > found.parts["weights"] > 0


@pytest.mark.parametrize(
    ("settings", "allocated_gib", "reserved_gib"),
    [
        ({"quantization": "nf4", "gradient_checkpointing": True, "per_device_train_batch_size": 8}, 19.69, 22.64),
        ({"per_device_train_batch_size": 4}, 32.43, 34.05),
    ],
)
def test_label_smoothing_in_the_trainer_as_measured(settings, allocated_gib, reserved_gib):
    configuration = Configuration(method="lora", precision="bf16", gradient_accumulation_steps=2, **settings)
    found = memory.predict(presets.load("llama-3.2-korean-3b"), configuration)
    assert (found.bytes - found.parts["fragmentation"]) / 2**30 == pytest.approx(allocated_gib, rel=0.02)
    assert found.bytes / 2**30 == pytest.approx(reserved_gib, rel=0.02)
