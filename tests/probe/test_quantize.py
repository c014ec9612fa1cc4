"""Quantised layers of random weights."""

import pytest
import torch
from torch import nn

from autobatch.probe.quantize import quantization_config, quantized

CPU = torch.device("cpu")


@pytest.mark.parametrize(("kind", "dtype"), [("int8", torch.int8), ("nf4", torch.uint8)])
@pytest.mark.parametrize("bias", [False, True])
def test_a_layer_is_quantised_where_it_is_made(kind, dtype, bias):
    torch.manual_seed(0)

    layer = quantized(nn.Linear(256, 64, bias=bias, device="meta"), kind, torch.float32, CPU)

    assert layer.weight.dtype == dtype
    assert not any(p.requires_grad or p.is_meta for p in layer.parameters())
    # weights of 0.02 over 256 inputs
    assert layer(torch.randn(100, 256)).std().item() == pytest.approx(0.32, rel=0.1)


def test_moving_an_8_bit_layer_keeps_its_scales():
    layer = quantized(nn.Linear(256, 64, device="meta"), "int8", torch.float32, CPU)
    inputs = torch.randn(4, 256)
    before = layer.to(CPU)(inputs)

    assert torch.equal(layer.to(CPU)(inputs), before)


@pytest.mark.parametrize("kind", ["int8", "nf4"])
def test_real_weights_are_quantised_alike(kind):
    config = quantization_config(kind, torch.bfloat16)

    assert config.load_in_8bit is (kind == "int8")
    assert config.load_in_4bit is (kind == "nf4")
    assert not config.bnb_4bit_use_double_quant
