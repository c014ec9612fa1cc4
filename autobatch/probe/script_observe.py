"""A script's Trainer under observation: its samples come in the probe's order, and a recorder notes what it does."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from transformers.trainer_pt_utils import find_batch_size

from autobatch.errors import UsageError
from autobatch.probe.order import Order
from autobatch.probe.session import Session, beat_with
from autobatch.probe.trainer import Observed
from autobatch.settings import MICRO_BATCH


class ScriptObserved(Observed):
    """A script's Trainer that a recorder watches; it gets this class before its own."""

    _checked_batch: int | None
    """Samples that the first batch must have; None where there is nothing to check."""

    def training_step(self, model: Any, inputs: Any, *args: Any, **options: Any) -> Any:  # noqa: ANN401 - as Trainer's
        """Make sure by the first batch that the script's own loader does as it is told, then train."""
        expected, self._checked_batch = self._checked_batch, None  # the last of an epoch may be smaller
        found = find_batch_size(inputs) if expected is not None else None
        if found is not None and found != expected:
            what = f"The script makes batches of {found} when {MICRO_BATCH} is {expected}."
            raise UsageError(what, f"Have its loader read args.{MICRO_BATCH}.")
        return super().training_step(model, inputs, *args, **options)


def observe(trainer: Any, session: Session, *, own_loader: bool) -> None:  # noqa: ANN401 - a Trainer of a script's class
    """Put the recorder between a Trainer and its own class, and the material under it."""
    kind, material = type(trainer), session.material
    trainer.__class__ = type(kind.__name__, (ScriptObserved, kind), {"__module__": kind.__module__})
    trainer._recorder, trainer._meter = session.recorder, session.meter  # noqa: SLF001 - Observed's, whose __init__ was not run
    trainer._sampler = session.conductor.sampler  # noqa: SLF001 - the same
    trainer._checked_batch = session.request.configuration.micro_batch if own_loader else None  # noqa: SLF001 - the same
    if not own_loader:
        trainer.train_dataset, trainer.data_collator = material.samples, material.collate
    if len(material.evaluation):
        trainer.eval_dataset = material.evaluation
    trainer.add_callback(session.conductor)
    beat_with(trainer.model, session.request, session.conductor.progress)


def untold(order: Order) -> Order:
    """Return an order for batches that come as they come: all cost the same, as far as one knows."""
    return replace(order, costs=(), expected_cost=1.0)
