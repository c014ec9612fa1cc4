from dataclasses import replace

import pytest

from autobatch.estimate import cards, compute
from autobatch.settings import Configuration
from autobatch.workload import presets
from autobatch.workload.spec import Lengths, Lora

LLAMA = replace(presets.load("llama-3.2-korean-3b"), lora=Lora(r=16), lengths=Lengths((1024, 1024)))
KOBART = replace(presets.load("kobart"), lengths=Lengths((512, 512), (128, 128)))
H100 = cards.find("h100")


def flops(workload=LLAMA, source=1024, target=0, *, recompute=False, **settings):
    return compute.flops_per_sample(workload, Configuration(settings), source, target, recompute=recompute)


def test_full_training_is_six_per_parameter_and_token():
    attention = 3 * 4 * 28 * 3072 * 1024**2
    assert flops() == pytest.approx(6 * 1024 * 3_212_574_720 + attention, rel=1e-3)


def test_a_frozen_base_saves_the_weight_gradients():
    assert flops(method="lora") / flops() == pytest.approx(2 / 3, rel=0.05)


def test_recomputation_counts_only_when_asked():
    assert flops(gradient_checkpointing=True) == flops()
    assert flops(gradient_checkpointing=True, recompute=True) / flops() == pytest.approx(4 / 3, rel=0.05)
    assert flops(recompute=True) == flops()


def test_attention_grows_with_the_square():
    short, long = flops(source=512), flops(source=4096)
    assert long > 8 * short


def test_an_encoder_decoder_counts_both_sides():
    both = flops(KOBART, 512, 128)
    assert flops(KOBART, 512, 0) + flops(KOBART, 0, 128) < both < 6 * 640 * 124e6 * 1.2


def test_mfu_is_a_share_of_the_peak():
    assert compute.mfu(989e12, 2.0, H100, "bf16") == pytest.approx(0.5)
    assert compute.mfu(1e12, 1.0, cards.find("v100-16"), "bf16") is None


@pytest.mark.parametrize(
    ("workload", "settings", "measured_ms"),
    [
        (KOBART, {"precision": "bf16", "per_device_train_batch_size": 1}, 60),
        (KOBART, {"precision": "bf16", "per_device_train_batch_size": 256}, 227),
        (KOBART, {"precision": "fp32", "per_device_train_batch_size": 256}, 1384),
        (
            LLAMA,
            {"precision": "bf16", "method": "lora", "gradient_checkpointing": True, "per_device_train_batch_size": 16},
            1328,
        ),
    ],
)
def test_time_on_an_h100_is_roughly_right(workload, settings, measured_ms):
    found = compute.predict_time(workload, Configuration(settings), H100)
    assert found.seconds * 1e3 == pytest.approx(measured_ms, rel=0.35)


def test_small_batches_cost_what_launching_costs():
    one, two = (
        compute.predict_time(KOBART, Configuration(precision="bf16", per_device_train_batch_size=b), H100).seconds
        for b in (1, 2)
    )
    assert one == pytest.approx(two, rel=0.01)


def test_a_card_known_by_its_size_has_no_speed():
    found = compute.predict_time(KOBART, Configuration(precision="bf16"), cards.find("24GiB"))
    assert found.rel_sigma >= 1
