"""Turns the first training of a script into a probe: its arguments under test, its Trainer observed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import transformers
from transformers import Trainer, TrainingArguments

from autobatch import settings as s
from autobatch.arguments import renew, training_arguments, without_workers
from autobatch.probe.schedule import accumulation, most_steps
from autobatch.probe.training import SILENT
from autobatch.request import ProbeRequest

NEVER = 10**9
"""Steps or epochs before the first evaluation of a training that is to have none: callbacks and schedulers refuse to
go without an `eval_strategy`."""
_KEPT = "_under_test"
"""Attribute of arguments: what the overlay made of them."""


@dataclass(frozen=True)
class Overlay:
    """Values that every TrainingArguments of the process takes, whatever the script says."""

    values: Mapping[str, Any]
    adapt: Callable[[TrainingArguments], None] = lambda _: None
    """Called before with the script's own arguments, for what depends on them."""

    def lay(self, arguments: TrainingArguments) -> None:
        """Set those that this class has, before they are validated."""
        self.adapt(arguments)
        if "output_dir" in self.values and Path(arguments.output_dir or "").is_dir():
            Path(self.values["output_dir"]).mkdir(exist_ok=True)  # the script may count on it
        for name in self._of(arguments):
            setattr(arguments, name, self.values[name])

    def keep(self, arguments: TrainingArguments) -> None:
        """Note what they read once they are validated."""
        vars(arguments)[_KEPT] = {name: getattr(arguments, name) for name in self._of(arguments)}

    def restore(self, arguments: TrainingArguments) -> None:
        """Set again what has changed since: a Trainer made of them refuses to have them validated anew."""
        for name, value in vars(arguments).get(_KEPT, {}).items():
            setattr(arguments, name, value)

    def _of(self, arguments: TrainingArguments) -> set[str]:
        return {field.name for field in fields(arguments)} & self.values.keys()


def scratch(folder: Path) -> str:
    """Return where a script writes what it means for its output."""
    return str(folder / "trainer")


def elsewhere(folder: Path, device: str) -> dict[str, Any]:
    """Return the arguments that change nothing but where a script writes and the kind of device it runs on."""
    kept = {"output_dir": scratch(folder), "logging_dir": scratch(folder), "report_to": "none", "push_to_hub": False}
    return {**kept, "use_cpu": True} if device == "cpu" else kept


def silent(folder: Path, steps: int) -> dict[str, Any]:
    """Return the arguments that leave nothing behind: no checkpoints, logs or trackers, and output to scratch."""
    kept = {"output_dir": scratch(folder), "logging_dir": scratch(folder)}
    own = {**kept, "max_steps": steps, "resume_from_checkpoint": None}
    quiet = {name: value for name, value in SILENT.items() if name != "eval_strategy"}
    return {**quiet, **own, "eval_on_start": False, "eval_delay": NEVER}


def keep_metric(arguments: TrainingArguments) -> None:
    """Name the metric of the best model, as the library does by itself where that is loaded: callbacks ask for it."""
    if arguments.load_best_model_at_end and arguments.metric_for_best_model is None:
        arguments.metric_for_best_model = "loss"


def under_test(request: ProbeRequest) -> dict[str, Any]:
    """Return the arguments of the configuration, as far as a probe goes."""
    kind = "cpu" if request.device == "cpu" else "cuda"
    chosen = training_arguments(request.configuration, kind, transformers.__version__)  # type: ignore[arg-type] # one of the two
    chosen |= without_workers(chosen)  # the script's own may be of a loader with workers
    return {**chosen, s.ACCUMULATION: accumulation(request), **silent(Path(request.folder), most_steps(request))}


def install(overlay: Overlay, train: Callable[[Trainer, Callable[[Trainer], Any]], Any]) -> None:
    """Patch the library: arguments take the overlay, and `train` gets a Trainer and its own training to run."""
    validate, construct, original = TrainingArguments.__post_init__, Trainer.__init__, Trainer.train

    def post_init(self: TrainingArguments) -> None:
        overlay.lay(self)
        validate(self)
        overlay.keep(self)

    def init(self: Trainer, *args: Any, **options: Any) -> None:  # noqa: ANN401 - as Trainer's
        for value in (*args, *options.values()):
            if isinstance(value, TrainingArguments):
                renew(value)  # lays them again over what the script or their class has changed since
        construct(self, *args, **options)

    def run(self: Trainer, *_: Any, **__: Any) -> Any:  # noqa: ANN401 - as Trainer's
        overlay.restore(self.args)  # the script, or its class of Trainer, may have changed them
        return train(self, original)

    TrainingArguments.__post_init__ = post_init
    Trainer.__init__ = init
    Trainer.train = run
