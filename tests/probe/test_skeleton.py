"""Shapes without memory."""

import pytest
import torch

from autobatch.probe.skeleton import materialize, parameter_count, skeleton
from autobatch.workload import presets


@pytest.mark.parametrize("name", presets.names())
def test_every_preset_has_its_published_parameter_count(name):
    model = presets.load(name).model

    built = skeleton(model, torch.bfloat16)

    assert parameter_count(built) == model.parameters
    assert all(p.is_meta for p in built.parameters())


@pytest.mark.parametrize("name", ["t5", "mt5"])
def test_the_head_of_t5_stays_separate(name, workload):
    built = skeleton(workload(name).model, torch.float32)
    materialize(built, torch.device("cpu"))

    assert built.lm_head.weight is not built.shared.weight
    assert built.encoder.embed_tokens.weight is built.shared.weight
    assert built.decoder.embed_tokens.weight is built.shared.weight


@pytest.mark.parametrize("name", ["bart", "llama"])
def test_tied_weights_stay_tied(name, workload):
    built = skeleton(workload(name).model, torch.float32)
    materialize(built, torch.device("cpu"))

    assert built.get_output_embeddings().weight is built.get_input_embeddings().weight


def test_random_weights_are_small_and_norms_are_neutral(workload):
    torch.manual_seed(0)
    built = skeleton(workload("llama").model, torch.float32)
    materialize(built, torch.device("cpu"))

    assert built.model.embed_tokens.weight.std().item() == pytest.approx(0.02, rel=0.1)
    assert torch.equal(built.model.norm.weight, torch.ones(32))


def test_an_attention_that_is_asked_for_is_used(workload):
    assert skeleton(workload("llama").model, torch.float32, "eager").config._attn_implementation == "eager"
