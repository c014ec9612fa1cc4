"""The Trainer of a probe, made from the configuration's TrainingArguments and the workload's recipe."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import transformers
from torch import nn
from transformers import Seq2SeqTrainingArguments

from autobatch import settings as s
from autobatch.arguments import DeviceKind, training_arguments
from autobatch.probe.schedule import accumulation, most_steps
from autobatch.probe.session import Session
from autobatch.probe.trainer import Observed, ObservedSeq2Seq
from autobatch.request import ProbeRequest
from autobatch.workload.spec import Generation

SILENT = {
    "save_strategy": "no",
    "eval_strategy": "no",
    "logging_strategy": "no",
    "report_to": "none",
    "disable_tqdm": True,
    "push_to_hub": False,
    "load_best_model_at_end": False,
    "auto_find_batch_size": False,
}
"""A probe has none of the Trainer's side effects."""


def make_arguments(request: ProbeRequest) -> Seq2SeqTrainingArguments:
    """Return the arguments of the probe: the recipe, over it the configuration, over it what makes it a probe."""
    known = {field.name for field in fields(Seq2SeqTrainingArguments)}
    recipe = {name: value for name, value in request.workload.recipe.items() if name in known}
    kind: DeviceKind = "cpu" if request.device == "cpu" else "cuda"
    chosen = training_arguments(request.configuration, kind, transformers.__version__)
    own = {
        s.ACCUMULATION: accumulation(request),
        "max_steps": most_steps(request),
        "seed": request.seed,
        "output_dir": str(Path(request.folder) / "trainer"),
        "predict_with_generate": request.workload.generation is not None,
    }
    return Seq2SeqTrainingArguments(**{**recipe, **chosen, **SILENT, **own})


def make_trainer(session: Session) -> Observed:
    """Return the Trainer, ready to train or to evaluate."""
    request, material = session.request, session.material
    generation = request.workload.generation
    if generation is not None:
        generate_in_full(session.model, generation)
    seq2seq = generation is not None or request.workload.model.family == "seq2seq"
    kind = ObservedSeq2Seq if seq2seq else Observed
    return kind(
        recorder=session.recorder,
        meter=session.meter,
        sampler=session.conductor.sampler,
        model=session.model,
        args=make_arguments(request),
        train_dataset=material.samples,
        eval_dataset=material.evaluation,
        data_collator=material.collate,
        compute_metrics=None if generation is None else _no_metrics,
        callbacks=[session.conductor],
    )


def _no_metrics(_: Any) -> dict[str, float]:  # noqa: ANN401 - predictions: with metrics to compute, the Trainer generates
    return {}


def generate_in_full(model: nn.Module, generation: Generation) -> None:
    """Have evaluation generate as many tokens as it may, as the longest answers do: random weights never end well."""
    config: Any = model.generation_config
    config.num_beams = generation.num_beams
    config.max_new_tokens = config.min_new_tokens = generation.max_new_tokens
