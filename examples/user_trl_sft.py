"""Supervised fine-tuning as anyone would write it with TRL, QLoRA where asked for; it knows nothing of autobatch.

python examples/user_trl_sft.py --data stdlib.jsonl --output_dir out [--qlora True] [any argument of SFTConfig]
autobatch search ... -- python examples/user_trl_sft.py --data stdlib.jsonl --output_dir out
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from datasets import load_dataset
from peft import LoraConfig
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)
from trl import SFTConfig, SFTTrainer, TrlParser

SPECIAL = {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}


@dataclass
class ScriptArguments:
    """What this script takes beside SFTConfig."""

    data: str = field(metadata={"help": "JSON Lines with the columns text and summary"})
    model: str | None = field(default=None, metadata={"help": "hub id or folder; without it, a small random Llama"})
    qlora: bool = field(default=False, metadata={"help": "nf4 base under a LoRA adapter"})
    samples: int = field(default=1000)


def small_tokenizer(texts: list[str]) -> PreTrainedTokenizerFast:
    """Train a small tokenizer on the texts."""
    tokenizer = Tokenizer(models.BPE(unk_token=SPECIAL["unk_token"]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=2000, special_tokens=list(SPECIAL.values()))
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **SPECIAL)


def small_model(vocabulary: int) -> LlamaForCausalLM:
    """Return a small random Llama."""
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=vocabulary,
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=512,
        )
    )


def big_model(name: str, *, qlora: bool) -> AutoModelForCausalLM:
    """Return a model from disk or the hub, quantised for QLoRA."""
    quantization = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
    return AutoModelForCausalLM.from_pretrained(
        name, dtype=torch.bfloat16, quantization_config=quantization if qlora else None
    )


def main() -> None:
    """Train and save."""
    mine, training = TrlParser((ScriptArguments, SFTConfig)).parse_args_and_config()
    raw = load_dataset("json", data_files=mine.data, split="train").select(range(mine.samples))
    texts = raw.map(lambda row: {"text": f"{row['text']}\n# {row['summary']}"}, remove_columns=["summary"])
    tokenizer = AutoTokenizer.from_pretrained(mine.model) if mine.model else small_tokenizer(list(texts["text"]))
    model = big_model(mine.model, qlora=mine.qlora) if mine.model else small_model(len(tokenizer))
    trainer = SFTTrainer(
        model=model,
        args=training,
        train_dataset=texts,
        processing_class=tokenizer,
        peft_config=LoraConfig(r=8, lora_alpha=16, target_modules="all-linear") if mine.qlora else None,
    )
    trainer.train()
    trainer.save_model()


if __name__ == "__main__":
    main()
