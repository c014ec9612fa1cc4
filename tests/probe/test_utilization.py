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
        ("NVIDIA A100 80GB PCIe", "bf16", 312.0),
        ("NVIDIA H200", "bf16", 989.4),
        ("NVIDIA H200 NVL", "bf16", 835.5),
        ("NVIDIA GH200 480GB", "bf16", 989.4),
        ("Tesla V100-SXM2-16GB", "fp16", 125.0),
        ("Tesla V100-PCIE-16GB", "fp16", 112.0),
        ("Tesla V100S-PCIE-32GB", "fp16", 130.0),
        ("NVIDIA L40S", "bf16", 362.0),
        ("NVIDIA L4", "bf16", 121.0),
        ("Tesla T4", "fp16", 65.0),
    ],
)
def test_peaks_go_by_card_and_precision(card, precision, teraflops):
    assert peak_flops(card, precision) == teraflops * 1e12


@pytest.mark.parametrize(
    "card",
    [
        "NVIDIA L40",
        "NVIDIA RTX A1000 Laptop GPU",
        "NVIDIA A10G",
        "NVIDIA T400 4GB",
        "NVIDIA GeForce RTX 3090 Ti",
        "NVIDIA GeForce RTX 4090 D",
        "NVIDIA GeForce RTX 4090 Laptop GPU",
        "NVIDIA GeForce RTX 3080 Ti",
    ],
)
def test_no_card_has_the_peak_of_another_whose_name_is_in_its_own(card):
    assert peak_flops(card, "bf16") is None


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
