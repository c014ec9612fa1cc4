"""The scripts that `benchmarks.scripts` searches, each with its export's format and what it is given."""

from __future__ import annotations

import json
import runpy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
BIG = "llama-3.2-korean-3b"
Make = Callable[[Path, str], dict[str, Any]]


@dataclass(frozen=True)
class Case:
    """A script with what it is given."""

    script: str
    target: str
    """Format of the export."""
    make: Make
    """Makes what it needs in a folder, for a device, and returns the content of its file."""
    options: tuple[str, ...] = ()
    """Options of the search."""


_COMMON = {"output_dir": "out", "report_to": "none", "num_train_epochs": 3.0, "logging_steps": 1000}


def summariser(folder: Path, _: str) -> dict[str, Any]:
    """Return the file of a small summariser that makes its own model."""
    batch = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 4}
    # all but a twentieth is trained on
    return {"data": str(folder / "data.jsonl"), "samples": 1684, **batch, **_COMMON, "save_strategy": "no"}


def published(folder: Path, device: str) -> dict[str, Any]:
    """Return the file of a summariser with the arguments of transformers' own example, and make its model."""
    save_bart(folder / "model", folder / "data.jsonl", width=64 if device == "cpu" else 768)
    files = {"train_file": str(folder / "data.jsonl"), "validation_file": str(folder / "data.jsonl")}
    lengths = {"max_source_length": 192, "max_target_length": 48, "max_train_samples": 1600, "max_eval_samples": 40}
    batch = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 4, "predict_with_generate": True}
    model = {"model_name_or_path": str(folder / "model"), "do_train": True, "do_eval": True}
    return {**model, **files, **lengths, **batch, **_COMMON}


def sft(folder: Path, device: str) -> dict[str, Any]:
    """Return the file of a TRL training under QLoRA, and make its model: a small Llama, on a card one of 3B."""
    model, data = folder / "model", folder / "data.jsonl"
    if small := device == "cpu":
        save_llama(model, data)
    else:
        save_preset(model, data, device)
    batch = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 4}
    content = {"data": str(data), "samples": 800, "model": str(model), "qlora": True, "bf16": not small, **batch}
    return content | _COMMON | {"save_strategy": "no", "max_length": 256 if small else 1024}


CASES = {
    "seq2seq": Case("user_seq2seq.py", "hf", summariser),
    "summarization": Case("user_summarization.py", "hf", published, ("--fix", "per_device_eval_batch_size=8")),
    "trl": Case("user_trl_sft.py", "trl", sft),
}
PLAIN = ("--fix", "gradient_checkpointing=false", "--fix", "dataloader_num_workers=0")
QUICK = {"cpu": ("--fix", "precision=fp32", *PLAIN), "cuda": ("--fix", "precision=bf16", *PLAIN)}
"""What is not searched: a probe of a large script takes half a minute, most of it to load."""


def make(name: str, folder: Path, device: str) -> None:
    """Make what a case needs in a folder, its `run.yaml` among it."""
    content = CASES[name].make(folder, device)
    (folder / "run.yaml").write_text("".join(f"{key}: {json.dumps(value)}\n" for key, value in content.items()))


def texts(data: Path) -> list[str]:
    """Return all texts of a set."""
    return [text for line in data.read_text().splitlines() for text in json.loads(line).values()]


def save_tokenizer(folder: Path, data: Path) -> int:
    """Train a tokenizer as one of the scripts does, save it, and return its size."""
    made = runpy.run_path(str(EXAMPLES / "user_seq2seq.py"))["make_tokenizer"](texts(data))
    made.save_pretrained(folder)
    return len(made)


def save_bart(folder: Path, data: Path, width: int) -> None:
    """Save an encoder-decoder with random weights and a tokenizer."""
    size = save_tokenizer(folder, data)
    model = runpy.run_path(str(EXAMPLES / "user_seq2seq.py"))["make_model"](width, size)
    model.config.max_length = None
    model.save_pretrained(folder)


def save_llama(folder: Path, data: Path) -> None:
    """Save a small Llama with random weights and a tokenizer."""
    size = save_tokenizer(folder, data)
    runpy.run_path(str(EXAMPLES / "user_trl_sft.py"))["small_model"](size).save_pretrained(folder)


def save_preset(folder: Path, data: Path, device: str) -> None:
    """Save a preset's model with random weights in bf16, and a tokenizer that its vocabulary holds."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from autobatch.workload import presets

    save_tokenizer(folder, data)
    shape = dict(presets.load(BIG).model.config)
    with torch.device(device):  # random numbers of that many parameters take a card no time
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**shape), dtype=torch.bfloat16)
    model.save_pretrained(folder)
