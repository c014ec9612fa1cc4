"""The probe of a person's own script: it runs unchanged in this process, and its first training is measured.

The script's model, data, collator, callbacks, loss and optimizer are the real ones. The process ends as soon as the
figures are steady, so that nothing after the training is reached. A script with a loop of its own says so by
`autobatch.probe()`.
"""

from __future__ import annotations

import os
import runpy
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn

from transformers import Trainer
from transformers.trainer_pt_utils import find_batch_size

from autobatch.errors import UsageError
from autobatch.probe import script_alone
from autobatch.probe.conductor import Conductor
from autobatch.probe.device import Meter, open_meter, prepare_environment
from autobatch.probe.measure import flags, measurements, partial
from autobatch.probe.order import FixedSampler, Order
from autobatch.probe.outcome import Progress, write_outcome
from autobatch.probe.recorder import Recorder
from autobatch.probe.schedule import most_steps, parts
from autobatch.probe.script_command import Command, parse
from autobatch.probe.script_data import make_material
from autobatch.probe.script_loop import LoopProbe, activate
from autobatch.probe.script_patch import Overlay, install, under_test
from autobatch.probe.session import Session, beat_with
from autobatch.probe.trainer import Observed
from autobatch.request import ProbeRequest
from autobatch.settings import MICRO_BATCH
from autobatch.verdict import Measurements

OK, FAILED = 0, 1
QUIET = {"WANDB_MODE": "disabled", "COMET_MODE": "disabled", "TOKENIZERS_PARALLELISM": "false"}
"""Trackers that a script starts by itself write nothing; tokenizers do not warn of forked workers."""


def main(folder: str) -> int:
    """Run the script of `request.json` and leave `outcome.json`.

    Returns:
        0 if it was measured, 1 if it failed; the outcome says why.

    """
    path = Path(folder)
    progress = Progress(path)
    progress.enter("start")
    probe = None
    try:
        request = ProbeRequest.from_json((path / "request.json").read_text(encoding="utf-8"))
        probe = ScriptProbe(request, progress)
        run(probe, parse(request.workload.script or ()))
    except BaseException as error:  # noqa: BLE001 - whatever ends a script is its outcome
        return _failed(path, progress, error, probe)
    return OK


def _failed(path: Path, progress: Progress, error: BaseException, probe: ScriptProbe | None) -> int:
    """Write down what was raised; of the script's own exceptions also whether it raises them without us too."""
    if (path / "outcome.json").exists():  # a process that the script forked was measured
        return OK
    own, marks = its_own(error.__traceback__), {}
    for_memory = isinstance(error, MemoryError) or "out of memory" in str(error).lower()
    if own is not None and not for_memory and not isinstance(error, UsageError):
        error.__traceback__ = own
        alone = script_alone.fails(path, error)
        if alone:
            error.add_note("It fails also without autobatch.")
        marks = {} if alone is None else {"fails_alone": alone}
    known = partial(probe.session, {}) if probe is not None and probe.session is not None else Measurements()
    write_outcome(path, progress.phase, known, marks, error)
    return FAILED


def its_own(trace: TracebackType | None) -> TracebackType | None:
    """Return a traceback from the script's first frame on; None where it does not reach the script."""
    while trace is not None and trace.tb_frame.f_globals.get("__name__") != "__main__":
        trace = trace.tb_next
    return trace


def run(probe: ScriptProbe, command: Command) -> None:
    """Run the script to its first training, and do not come back from that.

    Raises:
        UsageError: it ended without training.
        BaseException: whatever the script raised.

    """
    request = probe.request
    os.environ.update(QUIET, **probe.environment)
    probe.progress.enter("build")
    probe.meter.start()
    activate(LoopProbe(request, probe.meter, probe.progress))
    install(Overlay(under_test(request)), probe.train)
    try:
        execute(command)
    except SystemExit as end:
        if end.code not in (None, 0):
            what = f"The script ended itself with exit status {end.code} before it trained."
            raise UsageError(what, "Its last lines are in the probe's log; run it by itself.") from end
    if not (Path(request.folder) / "outcome.json").exists():
        what = "The script ended, and never trained by transformers.Trainer in its own process."
        raise UsageError(
            what, "Mark a loop of its own with autobatch.probe(); leave launchers that start processes out."
        )


def execute(command: Command) -> None:
    """Run a program as `python` would run it."""
    sys.argv = [command.program, *command.arguments]
    if command.kind == "module":
        sys.path.insert(0, str(Path.cwd()))
        runpy.run_module(command.program, run_name="__main__", alter_sys=True)
    else:
        sys.path.insert(0, str(Path(command.program).resolve().parent))
        runpy.run_path(command.program, run_name="__main__")


class ScriptObserved(Observed):
    """A script's Trainer that a recorder watches; it gets this class before its own."""

    def training_step(self, model: Any, inputs: Any, *args: Any, **options: Any) -> Any:  # noqa: ANN401 - as Trainer's
        """Make sure that the script's own loader does as it is told, then train."""
        expected = self._checked_batch
        found = find_batch_size(inputs) if expected is not None else None
        if found is not None and found != expected:
            what = f"The script makes batches of {found} when {MICRO_BATCH} is {expected}."
            raise UsageError(what, f"Have its loader read args.{MICRO_BATCH}.")
        return super().training_step(model, inputs, *args, **options)


@dataclass
class ScriptProbe:
    """One measurement of a script's training."""

    request: ProbeRequest
    progress: Progress
    started: float = field(default_factory=time.monotonic)
    meter: Meter = field(init=False)
    session: Session | None = None

    def __post_init__(self) -> None:
        prepare_environment(self.request)  # which card is the first is read when the meter is opened
        self.meter = open_meter(self.request)

    @property
    def environment(self) -> dict[str, str]:
        """Variables by which `autobatch.probe()` finds the probe, and a loop its settings."""
        from autobatch.export.targets.env import text, variable
        from autobatch.instrument import FOLDER

        chosen = {variable(name): text(value) for name, value in self.request.configuration.items()}
        return {**chosen, FOLDER: self.request.folder}

    def train(self, trainer: Trainer, original: Callable[[Trainer], Any]) -> NoReturn:
        """Measure a script's Trainer instead of training it to the end; the process ends here."""
        startup = {"script": time.monotonic() - self.started}
        entered = time.perf_counter()
        own_loader = has_own_loader(trainer)
        session = self.session = self._session(trainer, own_loader=own_loader)
        observe(trainer, session, own_loader=own_loader)
        if self.request.plan.purpose == "inference":
            self.progress.enter("eval")
            self.meter.reset()
            trainer.evaluate()
        else:
            original(trainer)
            if session.conductor.finds_peak_again and not own_loader:
                self.progress.enter("worst_case")
                trainer.repeat_longest([session.material.samples[i] for i in session.material.order.longest])
        startup["first_step"] = (session.recorder.first_step_end or entered) - entered
        found = measurements(session, startup)
        self.end(found, {**flags(session, found), "worst_case_unknown": own_loader})

    def _session(self, trainer: Trainer, *, own_loader: bool) -> Session:
        material = make_material(self.request, trainer)
        order = untold(material.order, most_steps(self.request)) if own_loader else material.order
        recorder = Recorder(order.costs, order.expected_cost)
        planned = parts(self.request, self.started)
        planned = replace(planned, evaluates=planned.evaluates and len(material.evaluation) > 0)
        conductor = Conductor(planned, recorder, self.meter, self.progress)
        return Session(self.request, self.meter, trainer.model, material, recorder, conductor)

    def end(self, found: Measurements, marks: dict[str, bool]) -> NoReturn:
        """Write the outcome and end the process: what the script does after training is no part of a probe."""
        write_outcome(Path(self.request.folder), self.progress.phase, found, marks)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(OK)


def observe(trainer: Any, session: Session, *, own_loader: bool) -> None:  # noqa: ANN401 - a Trainer of a script's class
    """Put the recorder between a Trainer and its own class, and the material under it."""
    kind, material = type(trainer), session.material
    trainer.__class__ = type(kind.__name__, (ScriptObserved, kind), {"__module__": kind.__module__})
    trainer._recorder, trainer._meter = session.recorder, session.meter  # noqa: SLF001 - Observed's, whose __init__ was not run
    trainer._sampler = FixedSampler(material.order.indices)  # noqa: SLF001 - the same
    trainer._checked_batch = session.request.configuration.micro_batch if own_loader else None  # noqa: SLF001 - the same
    if not own_loader:
        trainer.train_dataset, trainer.data_collator = material.samples, material.collate
    if len(material.evaluation):
        trainer.eval_dataset = material.evaluation
    trainer.add_callback(session.conductor)
    beat_with(trainer.model, session.request, session.conductor.progress)


def has_own_loader(trainer: Trainer) -> bool:
    """Tell whether the script's Trainer makes its DataLoader itself, so that nobody else can choose its batches."""
    return type(trainer).get_train_dataloader is not Trainer.get_train_dataloader


def untold(order: Order, steps: int) -> Order:
    """Return an order for batches that come as they come: all cost the same, as far as one knows."""
    return replace(order, costs=(1.0,) * max(len(order.costs), 64 * steps), expected_cost=1.0)
