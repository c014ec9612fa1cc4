"""Fine-tune a sequence-to-sequence model on summarisation, with the arguments of transformers' example of that name.

python examples/user_summarization.py --model_name_or_path FOLDER --do_train --do_eval --train_file train.jsonl \
    --validation_file dev.jsonl --text_column text --summary_column summary --predict_with_generate --output_dir out
python examples/user_summarization.py run.yaml

It knows nothing of autobatch.
"""

from __future__ import annotations

import logging
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from datasets import DatasetDict, load_dataset
from transformers import (
    AutoConfig,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    DataCollatorForSeq2Seq,
    HfArgumentParser,
    Seq2SeqTrainer,
    Seq2SeqTrainingArguments,
    set_seed,
)

logger = logging.getLogger(__name__)
IGNORED = -100
"""Label that the loss leaves out."""


@dataclass
class ModelArguments:
    """Which model."""

    model_name_or_path: str = field(metadata={"help": "hub id or folder"})
    config_name: str | None = None
    tokenizer_name: str | None = None
    cache_dir: str | None = None
    resize_position_embeddings: bool = False


@dataclass
class DataTrainingArguments:
    """Which data, and how it is cut."""

    train_file: str | None = None
    validation_file: str | None = None
    test_file: str | None = None
    text_column: str = "text"
    summary_column: str = "summary"
    max_source_length: int = 1024
    max_target_length: int = 128
    val_max_target_length: int | None = None
    pad_to_max_length: bool = False
    max_train_samples: int | None = None
    max_eval_samples: int | None = None
    preprocessing_num_workers: int | None = None
    num_beams: int | None = None
    ignore_pad_token_for_loss: bool = True
    source_prefix: str = ""


Arguments = tuple[ModelArguments, DataTrainingArguments, Seq2SeqTrainingArguments]


def arguments() -> Arguments:
    """Read the command line, or the one YAML or JSON file on it."""
    parser = HfArgumentParser((ModelArguments, DataTrainingArguments, Seq2SeqTrainingArguments))
    only = Path(sys.argv[1]) if len(sys.argv) == 2 else None
    if only is not None and only.suffix in {".yaml", ".yml"}:
        found: Arguments = parser.parse_yaml_file(str(only.resolve()))
    elif only is not None and only.suffix == ".json":
        found = parser.parse_json_file(str(only.resolve()))
    else:
        found = parser.parse_args_into_dataclasses()
    return found


def read(data: DataTrainingArguments) -> DatasetDict:
    """Return the splits for which files were named."""
    files = {"train": data.train_file, "validation": data.validation_file, "test": data.test_file}
    named = {split: path for split, path in files.items() if path is not None}
    kind = Path(next(iter(named.values()))).suffix.removeprefix(".").replace("jsonl", "json")
    return load_dataset(kind, data_files=named)


def encoded(raw: Any, data: DataTrainingArguments, tokenizer: Any, longest: int, most: int | None) -> Any:  # noqa: ANN401 - libraries without types
    """Return a split as token ids."""
    padding = "max_length" if data.pad_to_max_length else False

    def encode(rows: dict[str, list[str]]) -> Any:  # noqa: ANN401 - the same
        inputs = [data.source_prefix + text for text in rows[data.text_column]]
        found = tokenizer(inputs, max_length=data.max_source_length, padding=padding, truncation=True)
        labels = tokenizer(text_target=rows[data.summary_column], max_length=longest, padding=padding, truncation=True)
        found["labels"] = labels["input_ids"]
        return found

    part = raw.select(range(min(most, len(raw)))) if most is not None else raw
    workers = data.preprocessing_num_workers
    return part.map(encode, batched=True, num_proc=workers, remove_columns=raw.column_names)


def overlap(tokenizer: Any) -> Any:  # noqa: ANN401 - the same
    """Return a metric: the share of a summary's words that the prediction has too."""

    def compute(found: Any) -> dict[str, float]:  # noqa: ANN401 - the same
        predictions, labels = (np.where(ids == IGNORED, tokenizer.pad_token_id, ids) for ids in found)
        texts = [tokenizer.batch_decode(ids, skip_special_tokens=True) for ids in (predictions, labels)]
        pairs = [(set(a.split()), set(b.split())) for a, b in zip(*texts, strict=True)]
        lengths = (predictions != tokenizer.pad_token_id).sum(axis=1)
        return {
            "overlap": float(np.mean([len(a & b) / max(1, len(b)) for a, b in pairs])),
            "gen_len": float(lengths.mean()),
        }

    return compute


def main() -> None:
    """Train, evaluate, save."""
    model_args, data, training = arguments()
    logging.basicConfig(level=logging.INFO)
    logger.info("training arguments: %s", training)
    set_seed(training.seed)
    raw = read(data)
    name = model_args.model_name_or_path
    config = AutoConfig.from_pretrained(model_args.config_name or name, cache_dir=model_args.cache_dir)
    tokenizer = AutoTokenizer.from_pretrained(model_args.tokenizer_name or name, cache_dir=model_args.cache_dir)
    model = AutoModelForSeq2SeqLM.from_pretrained(name, config=config, cache_dir=model_args.cache_dir)
    if len(tokenizer) > model.get_input_embeddings().weight.shape[0]:
        model.resize_token_embeddings(len(tokenizer))
    if model.config.decoder_start_token_id is None:
        message = "the model's configuration names no decoder_start_token_id"
        raise ValueError(message)

    with training.main_process_first(desc="tokenising"):
        longest = data.val_max_target_length or data.max_target_length
        train = encoded(raw["train"], data, tokenizer, data.max_target_length, data.max_train_samples)
        dev = encoded(raw["validation"], data, tokenizer, longest, data.max_eval_samples) if training.do_eval else None
    training.generation_max_length = training.generation_max_length or longest
    training.generation_num_beams = data.num_beams or training.generation_num_beams
    trainer = Seq2SeqTrainer(
        model=model,
        args=training,
        train_dataset=train if training.do_train else None,
        eval_dataset=dev,
        processing_class=tokenizer,
        data_collator=DataCollatorForSeq2Seq(
            tokenizer,
            model=model,
            label_pad_token_id=IGNORED if data.ignore_pad_token_for_loss else tokenizer.pad_token_id,
            pad_to_multiple_of=8 if training.fp16 else None,
        ),
        compute_metrics=overlap(tokenizer) if training.predict_with_generate else None,
    )
    if training.do_train:
        result = trainer.train(resume_from_checkpoint=training.resume_from_checkpoint)
        trainer.save_model()
        trainer.log_metrics("train", result.metrics)
        trainer.save_metrics("train", result.metrics)
        trainer.save_state()
    if training.do_eval:
        metrics = trainer.evaluate(metric_key_prefix="eval")
        trainer.log_metrics("eval", metrics)
        trainer.save_metrics("eval", metrics)


if __name__ == "__main__":
    main()
