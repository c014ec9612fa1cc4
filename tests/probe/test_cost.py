"""What a padded micro-batch costs, against what torch counts."""

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    LlamaConfig,
    LlamaForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
)

from autobatch.probe.cost import cost_of

BATCH = 2
LENGTHS = [(32, 32), (256, 24), (48, 160)]


def bart(decoder_layers: int) -> BartForConditionalGeneration:
    heads = {"encoder_attention_heads": 4, "decoder_attention_heads": 4}
    wide = {"d_model": 64, "encoder_ffn_dim": 256, "decoder_ffn_dim": 256}
    config = BartConfig(vocab_size=100, encoder_layers=2, decoder_layers=decoder_layers, **heads, **wide)
    config._attn_implementation = "eager"
    return BartForConditionalGeneration(config)


def t5(decoder_layers: int) -> T5ForConditionalGeneration:
    layers = {"num_layers": 2, "num_decoder_layers": decoder_layers}
    special = {"pad_token_id": 0, "decoder_start_token_id": 0}
    return T5ForConditionalGeneration(
        T5Config(vocab_size=100, d_model=64, d_kv=16, num_heads=4, d_ff=256, **layers, **special)
    )


def counted(model: torch.nn.Module, **lengths: int) -> int:
    batch = {name: torch.randint(4, 100, (BATCH, length)) for name, length in lengths.items()}
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(**batch)
    return counter.get_total_flops()


@pytest.mark.parametrize(("source", "target"), LENGTHS)
@pytest.mark.parametrize("decoder_layers", [2, 6])
@pytest.mark.parametrize("make", [bart, t5])
def test_an_encoder_decoder_costs_what_torch_counts(make, decoder_layers, source, target):
    model = make(decoder_layers)
    cost = BATCH * cost_of(model).of(np.array([source]), np.array([target]))[0]
    assert cost == pytest.approx(counted(model, input_ids=source, labels=target), rel=0.01)


def test_a_decoder_costs_what_torch_counts():
    wide = {"hidden_size": 64, "intermediate_size": 256, "num_attention_heads": 4, "num_key_value_heads": 2}
    config = LlamaConfig(vocab_size=100, num_hidden_layers=3, **wide)
    config._attn_implementation = "eager"
    model = LlamaForCausalLM(config)
    cost = BATCH * cost_of(model).of(np.array([64]), np.array([0]))[0]
    assert cost == pytest.approx(counted(model, input_ids=64), rel=0.01)


def test_adapters_on_cross_attention_work_on_the_source():
    from peft import LoraConfig, get_peft_model

    before, model = cost_of(bart(2)), get_peft_model(bart(2), LoraConfig(r=4, target_modules=["k_proj", "v_proj"]))
    added = cost_of(model)
    assert added.source - before.source == 2 * 2 * (2 + 2) * 4 * (64 + 64)
    assert added.target - before.target == 2 * 2 * 2 * 4 * (64 + 64)
