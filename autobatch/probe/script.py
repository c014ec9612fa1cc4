"""The probe of a person's own script: it runs unchanged in this process, and its first training is measured.

The script's model, data, collator, callbacks, loss and optimizer are the real ones. The process ends as soon as the
figures are steady, so that nothing after the training is reached. A script with a loop of its own says so by
`autobatch.probe()`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NoReturn

from transformers import Trainer

from autobatch.errors import UsageError
from autobatch.instrument import activate
from autobatch.probe import script_alone
from autobatch.probe.conductor import Conductor
from autobatch.probe.device import Meter, open_meter, prepare_environment
from autobatch.probe.measure import flags, measurements, partial
from autobatch.probe.outcome import Progress, write_outcome
from autobatch.probe.recorder import Recorder
from autobatch.probe.sampler import ProbeSampler
from autobatch.probe.schedule import parts
from autobatch.probe.script_command import Command, parse
from autobatch.probe.script_data import comes_as_it_comes, guesses, make_material
from autobatch.probe.script_execute import QUIET, end_process, execute, from_script, its_own, lacks_memory, say_shortly
from autobatch.probe.script_loop import LoopProbe
from autobatch.probe.script_observe import observe, untold
from autobatch.probe.script_patch import Overlay, install, keep_metric, under_test
from autobatch.probe.session import Session
from autobatch.request import ProbeRequest
from autobatch.verdict import Measurements

OK, FAILED = 0, 1


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
        probe = ScriptProbe(request, parse(request.workload.script or ()), progress)
        run(probe)
    except BaseException as error:  # noqa: BLE001 - whatever ends a script is its outcome
        return _failed(path, progress, error, probe)
    return OK


def _failed(path: Path, progress: Progress, error: BaseException, probe: ScriptProbe | None) -> int:
    """Write down what was raised; of the script's own exceptions also whether it raises them without us too."""
    if (path / "outcome.json").exists():  # a process that the script forked was measured
        return OK
    say_shortly(error)
    own, marks = its_own(error.__traceback__), {}
    if own is not None and probe is not None and not lacks_memory(error) and not isinstance(error, UsageError):
        error.__traceback__ = own
        alone = script_alone.fails(path, probe.command, error, probe.environment, probe.begun_in)
        if alone:
            error.add_note("It fails also without autobatch.")
        marks = {} if alone is None else {"fails_alone": alone}
    known = partial(probe.session, {}) if probe is not None and probe.session is not None else Measurements()
    write_outcome(path, progress.phase, known, marks, error)
    return FAILED


def run(probe: ScriptProbe) -> None:
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
    install(Overlay(under_test(request), keep_metric), probe.train)
    try:
        execute(probe.command)
    except SystemExit as end:
        if end.code not in (None, 0):
            raise _ended_itself(end, "before it trained") from end
    if not (Path(request.folder) / "outcome.json").exists():
        what = "The script ended, and never trained by transformers.Trainer in its own process."
        raise UsageError(
            what, "Mark a loop of its own with autobatch.probe(); leave launchers that start processes out."
        )


def _ended_itself(end: SystemExit, when: str) -> UsageError:
    """Say how a script ended itself: with a status, or, as Python has it, with status 1 and what it said."""
    code = 0 if end.code is None else end.code
    if isinstance(code, int):
        what = f"The script ended itself with exit status {code} {when}."
        return UsageError(what, "Its last lines are in the probe's log; run it by itself.")
    what = f"The script ended itself {when}, and said: {str(code).rstrip('.')}."
    return UsageError(what, "Each probe runs it anew from its start: it has to bear what an earlier run left behind.")


def _of_training(error: BaseException) -> BaseException:
    """Return what is to be said of what ended a training, as if it had gone through the script."""
    if not isinstance(error, SystemExit):
        return from_script(error)
    said = _ended_itself(error, "before it could be timed")
    said.__cause__ = error
    return said


@dataclass
class ScriptProbe:
    """One measurement of a script's training."""

    request: ProbeRequest
    command: Command
    progress: Progress
    started: float = field(default_factory=time.monotonic)
    begun_in: Path = field(default_factory=Path.cwd)
    """Folder that the script was started in, wherever it went since."""
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
        """Measure a script's Trainer instead of training it to the end; the process ends here.

        Whatever the training raises ends it too: a script that catches that, or tidies up after it, would save the
        probe's model in the place of a good one, or try something else, which nobody asked to have measured.
        """
        try:
            self._measure(trainer, original)
        except BaseException as error:  # noqa: BLE001 - whatever ends a training is its outcome
            _failed(Path(self.request.folder), self.progress, _of_training(error), self)
            end_process(FAILED)

    def _measure(self, trainer: Trainer, original: Callable[[Trainer], Any]) -> NoReturn:
        startup = {"script": time.monotonic() - self.started}
        entered = time.perf_counter()
        ordered = not comes_as_it_comes(trainer)
        session = self.session = self._session(trainer, ordered=ordered)
        observe(trainer, session, ordered=ordered)
        if self.request.plan.purpose == "inference":
            self.progress.enter("eval")
            self.meter.reset()
            trainer.evaluate()
        else:
            original(trainer)
            _check_steps(session, trainer.state.global_step)
            if session.conductor.finds_peak_again and ordered:
                self.progress.enter("worst_case")
                trainer.repeat_longest([session.material.samples[i] for i in session.material.order.longest])
        startup["first_step"] = (session.recorder.first_step_end or entered) - entered
        found = measurements(session, startup)
        self.end(
            found, {**flags(session, found), "worst_case_unknown": not ordered or guesses(session.material.samples)}
        )

    def _session(self, trainer: Trainer, *, ordered: bool) -> Session:
        material = make_material(self.request, trainer)
        order = material.order if ordered else untold(material.order)
        recorder = Recorder(order.costs, order.expected_cost)
        planned = parts(self.request, self.started)
        planned = replace(
            planned,
            evaluates=planned.evaluates and len(material.evaluation) > 0,
            repeats=planned.repeats and ordered,
        )
        conductor = Conductor(planned, recorder, self.meter, self.progress, ProbeSampler(order), material.clock)
        return Session(self.request, self.meter, None, material, recorder, conductor)

    def end(self, found: Measurements, marks: dict[str, bool]) -> NoReturn:
        """Write the outcome and end the process: what the script does after training is no part of a probe."""
        write_outcome(Path(self.request.folder), self.progress.phase, found, marks)
        end_process(OK)


def _check_steps(session: Session, steps: int) -> None:
    """Refuse a training that ended before there was anything to measure.

    Raises:
        UsageError: it did.

    """
    conductor = session.conductor
    ended = not conductor.parts.times or conductor.evaluates_too_large
    timed = ended or session.recorder.estimate() is not None
    if conductor.train_peak is not None and timed:
        return
    what = f"The script ended its training after {steps} {'step' if steps == 1 else 'steps'}, before it could be timed."
    raise UsageError(what, "Leave out for the search what stops it: a callback that sets should_training_stop.")
