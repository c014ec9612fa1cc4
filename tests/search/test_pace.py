"""The time prior from shapes."""

import pytest

from autobatch.estimate import cards
from autobatch.search.pace import pace_of
from autobatch.settings import Configuration
from autobatch.workload import presets


@pytest.fixture(scope="module")
def pace():
    return pace_of(presets.load("llama-3.2-korean-3b"), cards.find("h200"))


def arm(**settings):
    return Configuration({"method": "lora", "optim": "adamw_torch_fused", **settings})


@pytest.mark.parametrize(("precision", "low", "high"), [("bf16", 0.85, 0.95), ("tf32", 1.0, 1.1)])
def test_adapters_beside_nf4_layers_copy_no_input_as_those_beside_bf16_ones_do(pace, precision, low, high):
    """Samples took 0.86 to 0.95 times as long in bf16 on an H200, 1.02 to 1.04 times in tf32."""
    plain, quantized = (pace(arm(quantization=kind, precision=precision)) for kind in ("none", "nf4"))
    assert low < quantized.sample_s / plain.sample_s < high


def test_launches_of_nf4_layers_take_longer(pace):
    plain, quantized = (pace(arm(quantization=kind)) for kind in ("none", "nf4"))
    assert 1.1 < quantized.floor_s / plain.floor_s < 1.5
