"""A summariser as anyone would write it with Seq2SeqTrainer; it knows nothing of autobatch.

python examples/user_seq2seq.py --data stdlib.jsonl --output_dir out [any other argument of Seq2SeqTrainingArguments]
python examples/user_seq2seq.py run.yaml
autobatch search ... -- python examples/user_seq2seq.py --data stdlib.jsonl --output_dir out
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field

from datasets import load_dataset
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    DataCollatorForSeq2Seq,
    HfArgumentParser,
    PreTrainedTokenizerFast,
    Seq2SeqTrainer,
    Seq2SeqTrainingArguments,
)

SPECIAL = {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}


@dataclass
class ScriptArguments:
    """What this script takes beside the training arguments."""

    data: str = field(metadata={"help": "JSON Lines with the columns text and summary"})
    width: int = field(default=64, metadata={"help": "width of the model"})
    samples: int = field(default=1000)
    max_source_length: int = field(default=192)
    max_target_length: int = field(default=48)


def make_tokenizer(texts: list[str]) -> PreTrainedTokenizerFast:
    """Train a small tokenizer on the texts."""
    tokenizer = Tokenizer(models.BPE(unk_token=SPECIAL["unk_token"]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=2000, special_tokens=list(SPECIAL.values()))
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **SPECIAL)


def make_model(width: int, vocabulary: int) -> BartForConditionalGeneration:
    """Return a small encoder-decoder."""
    config = BartConfig(
        vocab_size=vocabulary,
        d_model=width,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=2 * width,
        decoder_ffn_dim=2 * width,
        max_position_embeddings=512,
    )
    return BartForConditionalGeneration(config)


def main() -> None:
    """Train, evaluate, save."""
    parser = HfArgumentParser((ScriptArguments, Seq2SeqTrainingArguments))
    from_file = len(sys.argv) == 2 and sys.argv[1].endswith(".yaml")
    mine, training = parser.parse_yaml_file(sys.argv[1]) if from_file else parser.parse_args_into_dataclasses()
    raw = load_dataset("json", data_files=mine.data, split="train").select(range(mine.samples))
    tokenizer = make_tokenizer([*raw["text"], *raw["summary"]])

    def encode(rows: dict[str, list[str]]) -> dict[str, list[list[int]]]:
        sources = tokenizer(rows["text"], max_length=mine.max_source_length, truncation=True)
        targets = tokenizer(text_target=rows["summary"], max_length=mine.max_target_length, truncation=True)
        return {**sources, "labels": targets["input_ids"]}

    parts = raw.map(encode, batched=True, remove_columns=raw.column_names).train_test_split(0.05, seed=0)
    model = make_model(mine.width, len(tokenizer))
    trainer = Seq2SeqTrainer(
        model=model,
        args=training,
        train_dataset=parts["train"],
        eval_dataset=parts["test"],
        data_collator=DataCollatorForSeq2Seq(tokenizer, model=model),
        processing_class=tokenizer,
    )
    trainer.train()
    print("saving", file=sys.stderr)
    trainer.save_model()
    print(trainer.evaluate())


if __name__ == "__main__":
    main()
