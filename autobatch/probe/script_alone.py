"""Whether a script fails by itself too: run once more with its own arguments, for a few steps.

    python -m autobatch.probe.script_alone FOLDER

Only where it writes is changed: left quite alone it would put checkpoints into the person's own folders. For the same
reason a loop of its own ends with those steps.
"""

from __future__ import annotations

import os
import subprocess
import sys
import traceback
from collections.abc import Collection
from pathlib import Path
from typing import Any

from autobatch.instrument import Absent, activate
from autobatch.probe.script_command import Command, parse

STEPS = 2
PATIENCE_S = 90.0
"""What has not failed by then is taken for a script that does not."""


class BriefLoop(Absent):
    """What a loop gets that runs by itself: its own settings and batches, for a few steps."""

    searching = True
    _steps = 0

    def step(self, loss: Any = None) -> None:  # noqa: ANN401, ARG002 - as Probe's
        """End the process where those are done."""
        self._steps += 1
        if self._steps >= STEPS:
            os._exit(0)

    def close(self) -> None:
        """End the process: what comes after the loop is not what failed."""
        os._exit(0)


def fails(
    folder: Path, command: Command, error: BaseException, ours: Collection[str] = (), begun_in: Path | None = None
) -> bool | None:
    """Run a probe's script alone; tell whether it raises the same kind of exception.

    Args:
        folder: of the probe.
        command: the script's.
        error: what it raised there.
        ours: environment variables that say what is under test; it runs without.
        begun_in: folder that the script starts in; None: the present one.

    Returns:
        None where it took too long to tell.

    """
    alone = [*command.beside(__name__), str(folder)]
    own = {name: value for name, value in os.environ.items() if name not in ours}
    try:
        done = subprocess.run(
            alone,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
            stdin=subprocess.DEVNULL,
            env=own,
            cwd=begun_in,
        )
    except subprocess.TimeoutExpired:
        return None
    return done.returncode != 0 and type(error).__name__ in done.stderr


def main(folder: str) -> None:
    """Run the script of `request.json` with nothing but its output redirected, for a few steps."""
    from transformers import TrainerCallback

    from autobatch.probe.script_execute import QUIET, end_process, execute
    from autobatch.probe.script_observe import silence
    from autobatch.probe.script_patch import Overlay, elsewhere, install
    from autobatch.request import ProbeRequest

    class Brief(TrainerCallback):  # type: ignore[misc] # transformers is not typed
        """Ends the process after a few steps, and has no checkpoint written before."""

        def on_step_end(self, _: Any, state: Any, control: Any, **__: Any) -> None:  # noqa: ANN401 - as the library calls it
            control.should_save = False
            if state.global_step >= STEPS:
                os._exit(0)

    def train(trainer: Any, original: Any) -> None:  # noqa: ANN401 - a Trainer and its method
        silence(trainer)
        trainer.add_callback(Brief())
        try:
            original(trainer)
        except BaseException:  # noqa: BLE001 - the script would go on, and save what it has
            traceback.print_exc()
            end_process(1)
        os._exit(0)

    request = ProbeRequest.from_json((Path(folder) / "request.json").read_text(encoding="utf-8"))
    os.environ.update(QUIET)
    activate(BriefLoop())
    install(Overlay(elsewhere(Path(folder), request.device)), train)
    execute(parse(request.workload.script or ()))


if __name__ == "__main__":
    main(sys.argv[1])
