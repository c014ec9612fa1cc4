"""Turns the first training of a script into a probe: its arguments under test, its Trainer observed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import transformers
from transformers import Trainer, TrainingArguments

from autobatch import settings as s
from autobatch.arguments import training_arguments
from autobatch.probe.schedule import accumulation, most_steps
from autobatch.probe.training import SILENT
from autobatch.request import ProbeRequest


@dataclass(frozen=True)
class Overlay:
    """Values that every TrainingArguments of the process takes, whatever the script says."""

    values: Mapping[str, Any]

    def lay(self, arguments: TrainingArguments) -> None:
        """Set those that this class has, before they are validated."""
        for name in {field.name for field in fields(arguments)} & self.values.keys():
            setattr(arguments, name, self.values[name])

    def renew(self, arguments: TrainingArguments) -> None:
        """Lay them again over arguments that the script has changed since, validated anew and in place."""
        vars(arguments).update(vars(dataclasses.replace(arguments)))


def silent(folder: Path, steps: int) -> dict[str, Any]:
    """Return the arguments that leave nothing behind: no checkpoints, logs or trackers, and output to scratch."""
    scratch = str(folder / "trainer")
    return {**SILENT, "output_dir": scratch, "logging_dir": scratch, "max_steps": steps, "resume_from_checkpoint": None}


def under_test(request: ProbeRequest) -> dict[str, Any]:
    """Return the arguments of the configuration, as far as a probe goes."""
    kind = "cpu" if request.device == "cpu" else "cuda"
    chosen = training_arguments(request.configuration, kind, transformers.__version__)  # type: ignore[arg-type] # one of the two
    return {**chosen, s.ACCUMULATION: accumulation(request), **silent(Path(request.folder), most_steps(request))}


def install(overlay: Overlay, train: Callable[[Trainer, Callable[[Trainer], Any]], Any]) -> None:
    """Patch the library: arguments take the overlay, and `train` gets a Trainer and its own training to run."""
    validate, construct, original = TrainingArguments.__post_init__, Trainer.__init__, Trainer.train

    def post_init(self: TrainingArguments) -> None:
        overlay.lay(self)
        validate(self)

    def init(self: Trainer, *args: Any, **options: Any) -> None:  # noqa: ANN401 - as Trainer's
        for value in (*args, *options.values()):
            if isinstance(value, TrainingArguments):
                overlay.renew(value)
        construct(self, *args, **options)

    def run(self: Trainer, *_: Any, **__: Any) -> Any:  # noqa: ANN401 - as Trainer's
        return train(self, original)

    TrainingArguments.__post_init__ = post_init
    Trainer.__init__ = init
    Trainer.train = run
