"""A script's Trainer under observation: its samples come in the probe's order, and a recorder notes what it does."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from typing import Any

from transformers import TrainingArguments
from transformers.trainer_pt_utils import find_batch_size

from autobatch.errors import UsageError
from autobatch.probe.order import Order
from autobatch.probe.script_batches import size_of
from autobatch.probe.script_data import has_own_loader
from autobatch.probe.script_execute import lacks_memory
from autobatch.probe.session import Session, beat_with
from autobatch.probe.trainer import Observed
from autobatch.settings import MICRO_BATCH

Metrics = Callable[..., dict[str, float]]


class ScriptObserved(Observed):
    """A script's Trainer that a recorder watches; it gets this class before its own."""

    _session_beats: Callable[[Any], None]
    """Takes a model that is about to be trained."""
    _ordered: bool
    """Whether its samples come in the probe's order."""
    _checked_batch: int | None
    """Samples that the first batch must have; None where there is nothing to check."""

    def call_model_init(self, trial: Any = None) -> Any:  # noqa: ANN401 - as Trainer's
        """Make the model that is trained; there was another to look at."""
        model = super().call_model_init(trial)
        self._session_beats(model)
        return model

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:  # noqa: ANN401 - as Trainer's
        if self._ordered:
            return super()._get_train_sampler(train_dataset)
        return super(Observed, self)._get_train_sampler(train_dataset)  # the script's own, or the library's

    def training_step(self, model: Any, inputs: Any, *args: Any, **options: Any) -> Any:  # noqa: ANN401 - as Trainer's
        """Make sure by the first batch that the script's own loader does as it is told, then train."""
        expected, self._checked_batch = self._checked_batch, None  # the last of an epoch may be smaller
        if size_of(self.callback_handler.train_dataloader) == expected:
            expected = None  # packed, or with two views of a sample, its batches have another size
        found = find_batch_size(inputs) if expected is not None else None
        if found is not None and found != expected:
            what = f"The script makes batches of {found} when {MICRO_BATCH} is {expected}."
            raise UsageError(what, f"Have its loader read args.{MICRO_BATCH}.")
        return super().training_step(model, inputs, *args, **options)

    def evaluate(self, *args: Any, **options: Any) -> Any:  # noqa: ANN401 - as Trainer's
        """Evaluate, and leave that out of the micro-step that has begun: a script's callbacks may ask for it."""
        self._meter.synchronize()
        begun = time.perf_counter()
        try:
            return super().evaluate(*args, **options)
        finally:
            self._meter.synchronize()
            self._recorder.exclude(time.perf_counter() - max(begun, self._recorder.timing_since or begun))


def observe(trainer: Any, session: Session, *, ordered: bool) -> None:  # noqa: ANN401 - a Trainer of a script's class
    """Put the recorder between a Trainer and its own class, and the material under it.

    Args:
        trainer: is changed.
        session: the probe.
        ordered: whether the probe chooses the batches.

    """
    kind, material = type(trainer), session.material
    trainer.__class__ = type(kind.__name__, (ScriptObserved, kind), {"__module__": kind.__module__})
    trainer._recorder, trainer._meter = session.recorder, session.meter  # noqa: SLF001 - Observed's, whose __init__ was not run
    trainer._sampler, trainer._ordered = session.conductor.sampler, ordered  # noqa: SLF001 - the same
    own_loader = has_own_loader(trainer)
    trainer._checked_batch = session.request.configuration.micro_batch if own_loader else None  # noqa: SLF001 - the same
    if ordered:
        trainer.train_dataset, trainer.data_collator = material.samples, material.collate
    if len(material.evaluation):
        trainer.eval_dataset = material.evaluation
    if trainer.compute_metrics is not None:
        trainer.compute_metrics = of_a_part(trainer.compute_metrics, trainer.args)
    silence(trainer)
    trainer.add_callback(session.conductor)
    trainer._session_beats = lambda model: beat_with(model, session.request, session.conductor.progress)  # noqa: SLF001 - the same
    trainer._session_beats(trainer.model)  # noqa: SLF001 - the same


def silence(trainer: Any) -> None:  # noqa: ANN401 - the same
    """Keep a script's callbacks from what they do at the end of an epoch or a training, or with what is logged.

    They save what was trained, or tell their owner, and would put a few steps' model in the place of a good one. A
    probe logs nothing but the library's summary of a training at its end.
    """
    for callback in trainer.callback_handler.callbacks:
        callback.on_epoch_end = callback.on_train_end = callback.on_log = _nothing


def _nothing(*_: Any, **__: Any) -> None:  # noqa: ANN401 - as the library calls it
    """Do nothing."""


def of_a_part(compute: Metrics, args: TrainingArguments) -> Metrics:
    """Return a computation of metrics that may fail: it may know the whole evaluation set, and is given a part of it.

    Callbacks that ask for the metric of the best model find one.
    """

    @wraps(compute)
    def metrics(*given: Any, **options: Any) -> dict[str, float]:  # noqa: ANN401 - as the library calls it
        try:
            return compute(*given, **options)
        except Exception as error:
            if lacks_memory(error):
                raise
            sys.stderr.write(f"compute_metrics, given a part of the evaluation set: {type(error).__name__}: {error}\n")
            name = args.metric_for_best_model
            return {} if name is None else {name: 0.0}

    return metrics


def untold(order: Order) -> Order:
    """Return an order for batches that come as they come: all cost the same, as far as one knows."""
    return replace(order, costs=(), expected_cost=1.0)
