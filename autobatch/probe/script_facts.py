"""What a script is about to train, read off its Trainer: settings, data, length, model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from torch import nn
from transformers import Trainer, TrainingArguments
from transformers.trainer_pt_utils import find_batch_size

from autobatch import settings as s
from autobatch.errors import UsageError
from autobatch.probe.script_batches import size_of
from autobatch.probe.script_data import has_own_loader, indexable, is_seq2seq, training_data
from autobatch.probe.script_lengths import lengths
from autobatch.probe.skeleton import parameter_count
from autobatch.workload.lengths import quantiles

QUANTILES = 101
RECIPE = (
    "learning_rate",
    "lr_scheduler_type",
    "warmup_steps",
    "weight_decay",
    "max_grad_norm",
    "label_smoothing_factor",
)
_NOT_THE_SHAPE = frozenset({"architectures", "dtype", "torch_dtype", "transformers_version", "quantization_config"})


def facts(trainer: Trainer) -> dict[str, Any]:
    """Return what a Trainer is about to train, JSON-ready.

    Raises:
        UsageError: its own loader makes batches of another size than it says, or its data set is empty.

    """
    args, given = trainer.args, training_data(trainer)
    _check_batch(trainer)
    dataset = indexable(given)
    if not len(dataset):
        raise UsageError("The script's training data set is empty.", "Look at how it reads or filters its data.")
    source, target = lengths(dataset, seq2seq=is_seq2seq(trainer.model))
    return {
        "settings": settings_of(trainer),
        "unasked": optimizer_of(trainer) if has_own_optimizer(trainer) else {},
        **extent(args, _size(given)),
        "eval_samples": _size(trainer.eval_dataset),
        "recipe": {name: _plain(getattr(args, name)) for name in RECIPE},
        "source": quantiles(source.tolist()),
        "target": quantiles(target.tolist()) if target.any() else [],
        **model_facts(trainer.model),
    }


def _check_batch(trainer: Trainer) -> None:
    """Refuse a loader that makes batches of its own size: whatever was measured would be of that.

    Raises:
        UsageError: neither it nor its first batch has the size.

    """
    if not has_own_loader(trainer):
        return
    expected, loader = trainer.args.train_batch_size, trainer.get_train_dataloader()
    if size_of(loader) == expected:  # packed, or with two views of a sample, its batches have another size
        return
    batch = next(iter(loader), None)
    found = None if batch is None else find_batch_size(batch)
    if found is not None and found != expected:
        what = f"The script's own loader makes batches of {found} when {s.MICRO_BATCH} is {expected}."
        raise UsageError(what, f"Have it read args.{s.MICRO_BATCH}.")


def extent(args: TrainingArguments, size: int) -> dict[str, float]:
    """Return how long the training is: its samples and epochs, or what its steps take where those count.

    Args:
        args: of the training.
        size: samples of the data set; 0 where that is not known.

    """
    if args.max_steps <= 0:
        return {"train_samples": size, "epochs": float(args.num_train_epochs)}
    taken = args.max_steps * args.train_batch_size * args.gradient_accumulation_steps
    return {"train_samples": size or taken, "epochs": round(taken / (size or taken), 4)}


def settings_of(trainer: Trainer) -> dict[str, s.Scalar]:
    """Return the script's own settings, by our names."""
    args = trainer.args
    same = (s.MICRO_BATCH, s.ACCUMULATION, s.EVAL_BATCH, s.WORKERS, s.PIN_MEMORY, s.COMPILE, s.LIGER)
    found: dict[str, s.Scalar] = {name: getattr(args, name) for name in same}
    precision = "bf16" if args.bf16 else "fp16" if args.fp16 else "tf32" if args.tf32 else "fp32"
    checkpointing = getattr(args, "activation_checkpointing", None) or args.gradient_checkpointing
    return {
        **found,
        **({} if has_own_optimizer(trainer) else optimizer_of(trainer)),
        s.PREFETCH: args.dataloader_prefetch_factor or s.SETTINGS[s.PREFETCH].default,
        s.PRECISION: precision,
        s.CHECKPOINTING: bool(checkpointing),
        s.SAMPLING: str(_plain(args.train_sampling_strategy)),
    }


def has_own_optimizer(trainer: Trainer) -> bool:
    """Tell whether a Trainer was given an optimizer, or makes one of its own: its arguments do not choose it."""
    if trainer.optimizer is not None or getattr(trainer, "optimizer_cls_and_kwargs", None) is not None:
        return True
    made_by_library = getattr(trainer.create_optimizer, "__func__", None) is Trainer.create_optimizer
    return not made_by_library and not _makes_the_named(trainer)


def _makes_the_named(trainer: Trainer) -> bool:
    """Have a class's own way make an optimizer, and tell whether it asks which one the arguments name."""
    asked, original = [], Trainer.get_optimizer_cls_and_kwargs

    def noted(*args: Any, **options: Any) -> Any:  # noqa: ANN401 - as Trainer's
        asked.append(args)
        return original(*args, **options)

    Trainer.get_optimizer_cls_and_kwargs = staticmethod(noted)
    try:
        trainer.create_optimizer()
    finally:
        Trainer.get_optimizer_cls_and_kwargs = staticmethod(original)
        trainer.optimizer = None
    return bool(asked)


def optimizer_of(trainer: Trainer) -> dict[str, s.Scalar]:
    """Return the optimizer that the arguments name, whether it is used or not."""
    return {s.OPTIM: str(_plain(trainer.args.optim))}


def model_facts(model: nn.Module) -> dict[str, Any]:
    """Return what is known of a model: its shape, size, adapter and quantisation."""
    base: Any = model.get_base_model() if hasattr(model, "get_base_model") else model  # type: ignore[operator] # peft's
    config: Any = getattr(base, "config", None)
    shape = config.to_diff_dict() if hasattr(config, "to_diff_dict") else {}
    kept = {key: value for key, value in shape.items() if key not in _NOT_THE_SHAPE and not key.startswith("_")}
    bits = {"is_loaded_in_4bit": "nf4", "is_loaded_in_8bit": "int8"}
    return {
        "name": str(getattr(config, "_name_or_path", "") or ""),
        "family": "seq2seq" if getattr(config, "is_encoder_decoder", False) else "causal",
        "config": json.loads(json.dumps(kept, default=str)),
        "parameters": parameter_count(base),
        "method": "lora" if hasattr(model, "peft_config") else "full",
        "lora": adapter_facts(getattr(model, "peft_config", {})),
        "quantization": next((kind for name, kind in bits.items() if getattr(base, name, False)), "none"),
    }


def adapter_facts(configurations: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the shape of a model's LoRA adapter, the first where it has several; None where it has none."""
    found = next((one for one in configurations.values() if hasattr(one, "lora_alpha")), None)
    if found is None:
        return None
    targets = found.target_modules or ()
    return {
        "r": found.r,
        "alpha": found.lora_alpha,
        "dropout": found.lora_dropout,
        # peft names each layer's own; what is trained is told as shortly as it was asked for
        "target_modules": targets if isinstance(targets, str) else sorted({t.rpartition(".")[2] for t in targets}),
        "modules_to_save": sorted(found.modules_to_save or ()),
    }


def _size(dataset: Any) -> int:  # noqa: ANN401 - whatever a script evaluates on, or several by name
    if isinstance(dataset, dict):
        return sum(map(_size, dataset.values()))
    return len(dataset) if hasattr(dataset, "__len__") else 0


def _plain(value: Any) -> Any:  # noqa: ANN401 - an enumeration's member or a plain value
    return getattr(value, "value", value)
