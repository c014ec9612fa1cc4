"""The simulation's saved tensors against those of the real models, run on the CPU."""

import warnings

import pytest

from autobatch.estimate import shapes
from autobatch.estimate.allocator import Allocator
from autobatch.estimate.blocks import Model as Simulated
from autobatch.estimate.network import Network, Numerics
from autobatch.estimate.tape import Tape
from autobatch.workload.spec import Lora, Model

BATCH, SOURCE, TARGET = 3, 64, 32
CAUSAL = {
    "vocab_size": 512,
    "hidden_size": 128,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 320,
    "max_position_embeddings": 128,
}
GROUPED = {**CAUSAL, "num_key_value_heads": 2, "head_dim": 32, "tie_word_embeddings": False}
T5 = {
    "vocab_size": 512,
    "d_model": 128,
    "d_kv": 32,
    "d_ff": 320,
    "num_layers": 2,
    "num_decoder_layers": 2,
    "num_heads": 4,
    "dropout_rate": 0.0,
    "tie_word_embeddings": False,
    "decoder_start_token_id": 0,
    "pad_token_id": 0,
}
BART = {
    "vocab_size": 512,
    "d_model": 128,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 256,
    "decoder_ffn_dim": 256,
    "max_position_embeddings": 128,
    "dropout": 0.0,
    "decoder_start_token_id": 1,
}
CONFIGS = {
    "bart": BART,
    "t5": {**T5, "feed_forward_proj": "relu"},
    "mt5": {**T5, "feed_forward_proj": "gated-gelu"},
    "llama": GROUPED,
    "qwen3": GROUPED,
    "gpt_neox": {**CAUSAL, "hidden_dropout": 0.0, "attention_dropout": 0.0},
    "gpt2": {
        "vocab_size": 512,
        "n_embd": 128,
        "n_layer": 3,
        "n_head": 4,
        "n_positions": 128,
        "resid_pdrop": 0.0,
        "embd_pdrop": 0.0,
        "attn_pdrop": 0.0,
    },
}
SEQ2SEQ = {"bart", "t5", "mt5"}


def described(kind):
    family = "seq2seq" if kind in SEQ2SEQ else "causal"
    return Model(kind, "", family, {"model_type": kind, **CONFIGS[kind]})


def real_model(kind, attention="sdpa"):
    import transformers

    config = transformers.AutoConfig.for_model(**described(kind).config)
    config.use_cache = False
    auto = transformers.AutoModelForSeq2SeqLM if kind in SEQ2SEQ else transformers.AutoModelForCausalLM
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return auto.from_config(config, attn_implementation=attention).train()


def really_saved(model, *, seq2seq, autocast):
    import torch

    parameters = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept = []
    ids = torch.randint(1, 500, (BATCH, SOURCE))
    batch = {"input_ids": ids, "labels": torch.randint(1, 500, (BATCH, TARGET)) if seq2seq else ids}
    with (
        torch.autocast("cpu", torch.bfloat16, enabled=autocast),
        torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t),
    ):
        loss = model(**batch).loss
    sizes = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in kept}
    assert loss.requires_grad
    return sum(size for address, size in sizes.items() if address not in parameters)


def simulated_saved(kind, numerics):
    tape = Tape(Allocator(), numerics.compute if numerics.autocast else 0)
    network = Network(tape, shapes.read(described(kind)), numerics)
    model = Simulated(network)
    fixed = {id(t.storage) for t in network.parameters}
    model.loss(BATCH, SOURCE, TARGET if kind in SEQ2SEQ else 0, checkpointing=False)
    saved = {id(s): s.size for node in tape.nodes for s in node.saved or ()}
    return sum(size for key, size in saved.items() if key not in fixed)


@pytest.mark.parametrize("kind", sorted(CONFIGS))
def test_parameters_agree_with_the_real_model(kind):
    described_model = described(kind)
    count = sum(p.numel() for p in real_model(kind).parameters())
    architecture = shapes.read(described_model)
    tied = kind in {"t5", "mt5"}  # the library ties these when it builds them from a configuration
    assert count == architecture.parameters - (architecture.groups()["head"] if tied else 0)


FUSED = [
    (kind, "sdpa") for kind in ("bart", "t5", "mt5", "gpt_neox", "gpt2")
]  # the CPU's fused kernels keep what the GPU's do


@pytest.mark.parametrize(("kind", "attention"), [*FUSED, *((kind, "eager") for kind in sorted(CONFIGS))])
def test_saved_tensors_agree_in_fp32(kind, attention):
    numerics = Numerics(base=4, compute=4, autocast=False, lora=None, quantization="none", attention=attention)
    real = really_saved(real_model(kind, attention), seq2seq=kind in SEQ2SEQ, autocast=False)
    assert simulated_saved(kind, numerics) == pytest.approx(real, rel=0.02)


@pytest.mark.parametrize("kind", ["llama", "qwen3"])
def test_saved_tensors_agree_with_an_adapter_in_bf16(kind):
    import torch
    from peft import LoraConfig, get_peft_model

    lora = Lora(r=4, dropout=0.0)
    model = get_peft_model(real_model(kind).to(torch.bfloat16), LoraConfig(r=4, target_modules="all-linear"))
    numerics = Numerics(base=2, compute=2, autocast=True, lora=lora, quantization="none", attention="sdpa")
    real = really_saved(model.train(), seq2seq=False, autocast=True)
    assert simulated_saved(kind, numerics) == pytest.approx(real, rel=0.02)
