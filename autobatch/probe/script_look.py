"""Runs a script with its own settings up to its first training, and writes down what it is about to train.

    python -m autobatch.probe.script_look FOLDER

`look.json` of the folder holds `{"script": [...], "device": "cpu"}`; `found.json` is what comes of it. The script is
left alone but for its output, so that what it raises here it raises without autobatch too: `failed.json` holds that.
"""

from __future__ import annotations

import io
import json
import os
import sys
import traceback
from pathlib import Path
from typing import Any, NoReturn

from transformers import Trainer

from autobatch.errors import AutobatchError, UsageError
from autobatch.instrument import activate
from autobatch.isolation.proc import die_with_parent
from autobatch.probe.device import show_alone
from autobatch.probe.outcome import replace
from autobatch.probe.script_command import parse
from autobatch.probe.script_execute import QUIET, end_process, execute, its_own
from autobatch.probe.script_facts import facts
from autobatch.probe.script_loop_look import Look
from autobatch.probe.script_patch import Overlay, elsewhere, install, scratch
from autobatch.probe.script_process import LOG

_READS_INPUT = UsageError(
    "The script reads from standard input, and autobatch gives it none.",
    "Have it take what it asks for as an argument: autobatch search -- python train.py ARGS",
)


def main(folder: str) -> None:
    """Run the script of a folder's `look.json` until it trains."""
    path = Path(folder)
    die_with_parent()
    asked = json.loads((path / "look.json").read_text(encoding="utf-8"))

    def tell(found: dict[str, Any]) -> NoReturn:
        replace(path / "found.json", found, durable=True)
        end_process(0)

    def train(trainer: Trainer, _: object) -> NoReturn:
        try:
            found = facts(trainer)
        except Exception as error:  # noqa: BLE001 - told apart from the script's own
            _fail(path, _not_its_own(error), error)
        tell(found)

    os.environ.update(QUIET, AUTOBATCH_PROBE=folder)
    show_alone(asked["device"])
    activate(Look(tell))
    install(Overlay(elsewhere(path, asked["device"])), train)
    stdin = NoInput()
    sys.stdin = io.TextIOWrapper(io.BufferedReader(stdin))
    (path / LOG).write_bytes(b"")  # what libraries say when they are imported is not the script's word
    try:
        execute(parse(asked["script"]))
    except Exception as error:  # noqa: BLE001 - whatever the script raises is told
        # the first frame is ours, and by `python -m` it looks like a script's
        error.__traceback__ = its_own(error.__traceback__ and error.__traceback__.tb_next)
        ours = error if isinstance(error, AutobatchError) else None
        if scratch(path) in str(error) and Path(scratch(path)).is_dir():
            ours = _reads_output(error)
        _fail(path, _READS_INPUT if stdin.was_read else ours, error)


def _reads_output(error: Exception) -> UsageError:
    """Say that what a script looks for in its output is not there, whatever it finds by itself."""
    what = (
        f"The script looks into its output_dir, which is an empty folder in a search: {type(error).__name__}: {error}"
    )
    return UsageError(what.rstrip(".") + ".", "Have it read from a folder of another name.")


class NoInput(io.RawIOBase):
    """Standard input without anything in it, which knows whether somebody read it."""

    was_read = False

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def readinto(self, _: object) -> int:
        """Note the attempt; there is nothing."""
        self.was_read = True
        return 0


def _not_its_own(error: Exception) -> AutobatchError:
    if isinstance(error, AutobatchError):
        return error
    what = f"What the script trains cannot be told: {type(error).__name__}: {error}"
    return UsageError(
        what, "Its model or data set may be of a kind that autobatch does not know; the frames are above."
    )


def _fail(path: Path, said: AutobatchError | None, error: Exception) -> NoReturn:
    """Write down what was raised, with two lines about it where they are known, and end the process."""
    known = {} if said is None else {"what": said.what, "do": said.do}
    trace = "" if error is said else "".join(traceback.format_exception(error))
    replace(path / "failed.json", {**known, "traceback": trace}, durable=True)
    end_process(1)


if __name__ == "__main__":
    main(sys.argv[1])
