"""Model FLOPs utilisation."""

import pytest

from autobatch.probe.cost import cost_of
from autobatch.probe.skeleton import skeleton
from autobatch.probe.utilization import mfu, peak_flops
from autobatch.settings import Configuration
from autobatch.workload import presets


@pytest.mark.parametrize(
    ("card", "precision", "teraflops"),
    [
        ("NVIDIA H100 80GB HBM3", "bf16", 989.4),
        ("NVIDIA H100 PCIe", "fp16", 756.0),
        ("NVIDIA GeForce RTX 3090", "fp32", 35.6),
        ("NVIDIA A100-SXM4-40GB", "tf32", 156.0),
    ],
)
def test_peaks_go_by_card_and_precision(card, precision, teraflops):
    assert peak_flops(card, precision) == teraflops * 1e12


def test_an_unknown_card_has_no_utilisation():
    assert mfu(Configuration(), 1e12, 1.0, "Some Card") is None
    assert mfu(Configuration(), 1e12, 1.0, None) is None


def test_a_frozen_base_needs_two_passes_and_full_training_three():
    lora, full = Configuration(method="lora", precision="bf16"), Configuration(precision="bf16")

    assert mfu(full, 98.94e12, 1.0, "H100") == pytest.approx(0.3)
    assert mfu(lora, 98.94e12, 1.0, "H100") == pytest.approx(0.2)


@pytest.mark.parametrize("name", ["llama-3.2-korean-3b", "polyglot-ko-12.8b", "kobart"])
def test_a_token_costs_two_flops_a_matrix_weight(name):
    import torch

    model = presets.load(name).model
    cost = cost_of(skeleton(model, torch.bfloat16))

    # tied: the embedding is looked up, and multiplied as the head; untied: only the head is multiplied
    assert cost.source + cost.target == pytest.approx(2 * model.parameters, rel=0.03)
