"""The workload of a person's own script: found by running it, alone, up to its first training.

It imports no torch: the script runs in a process of its own.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autobatch.errors import UsageError
from autobatch.probe.script_command import parse
from autobatch.probe.script_process import LOG, run
from autobatch.settings import ACCUMULATION, MICRO_BATCH, SETTINGS, Scalar
from autobatch.workload.spec import Lengths, Lora, Model, Workload

PATIENCE_S = 900.0
"""Time for a script to load its model and data."""
_LAST_LINES = 60


@dataclass(frozen=True)
class Found:
    """What a script is about to train."""

    workload: Workload
    settings: Mapping[str, Scalar]
    """Its own settings, those that it has: to search any other would change nothing."""
    unasked: Mapping[str, Scalar] = field(default_factory=dict)
    """Of the settings that it takes from nobody, those known: what a loop's DataLoader was made with, or what a
    Trainer's arguments say though it was given an optimizer."""

    @property
    def held(self) -> dict[str, Scalar]:
        """Settings that are to stay as the script has them unless a person wants them searched."""
        own = ((name, value) for name, value in self.settings.items() if name != ACCUMULATION)
        return {name: value for name, value in own if not SETTINGS[name].searched}


def look(script: Sequence[str], device: str, patience_s: float = PATIENCE_S) -> Found:
    """Run a script with its own settings until it trains, and return what that would be.

    Args:
        script: command line after `--`.
        device: `cpu` or `cuda:N`.
        patience_s: time it may take.

    Raises:
        UsageError: it crashes or never trains, after its own last words on standard error; or it takes too long.
        KeyboardInterrupt: Ctrl-C; the script has ended, and nothing of it is left.
        SystemExit: the same for SIGTERM and SIGHUP.

    """
    command = parse(script).beside("autobatch.probe.script_look")
    with tempfile.TemporaryDirectory(prefix="autobatch-") as folder:
        path = Path(folder)
        (path / "look.json").write_text(json.dumps({"script": list(script), "device": device}), encoding="utf-8")
        return _found(script, _run_to_its_training(command, path, patience_s))


def _run_to_its_training(command: Sequence[str], path: Path, patience_s: float) -> Mapping[str, Any]:
    """Run the look at the script of a folder, and return what it is about to train.

    Raises:
        UsageError: it fails, takes too long, or never trains.

    """
    try:
        status = run(command, path, patience_s)
    except subprocess.TimeoutExpired as error:
        what = f"The script had not begun to train after {patience_s:.0f} s."
        do = "Give a larger --budget, or run it by itself; make what it loads smaller, or cache it."
        raise UsageError(what, do) from error
    if (path / "found.json").exists():
        found: Mapping[str, Any] = json.loads((path / "found.json").read_text(encoding="utf-8"))
        return found
    if (path / "failed.json").exists():
        raise _failure(json.loads((path / "failed.json").read_text(encoding="utf-8")), status)
    _repeat(path)
    if status != 0:
        raise _fails_alone(status)
    what = "The script ended, and never trained by transformers.Trainer or autobatch.probe()."
    raise UsageError(what, "Run it by itself; mark a loop of its own with autobatch.probe().")


def _failure(facts: Mapping[str, str], status: int) -> UsageError:
    """Print an exception whole, and return what is to be said of it."""
    sys.stderr.write(facts["traceback"])
    return UsageError(facts["what"], facts["do"]) if "what" in facts else _fails_alone(status)


def _fails_alone(status: int) -> UsageError:
    what = f"The script fails also without autobatch (exit status {status})."
    return UsageError(what, "Correct the script first: what it said is above.")


def _repeat(path: Path) -> None:
    """Say what a script said last, on its behalf."""
    said = (path / LOG).read_text(encoding="utf-8", errors="replace")
    sys.stderr.write("\n".join([*said.splitlines()[-_LAST_LINES:], ""]))


def _found(script: Sequence[str], facts: Mapping[str, Any]) -> Found:
    settings = {name: value for name, value in facts["settings"].items() if name in SETTINGS}
    known = MICRO_BATCH in settings and ACCUMULATION in settings
    effective = int(settings[MICRO_BATCH]) * int(settings[ACCUMULATION]) if known else None
    words = parse(script)
    name = Path(words.program).stem
    source = tuple(facts.get("source") or (1,) * 5)
    workload = Workload(
        model=Model(
            name=name,
            hub_id=facts.get("name") or name,
            family=facts.get("family", "causal"),
            config=facts.get("config", {}),
            parameters=facts.get("parameters"),
        ),
        method=facts.get("method", "full"),
        quantization=facts.get("quantization", "none"),
        lora=_adapter(facts.get("lora")),
        lengths=Lengths(source, tuple(facts.get("target", ()))),
        max_source_length=source[-1],
        max_target_length=facts["target"][-1] if facts.get("target") else None,
        effective_batch=effective,
        train_samples=int(facts.get("train_samples") or 0),
        eval_samples=int(facts.get("eval_samples") or 0),
        epochs=float(facts.get("epochs", 1.0)),
        recipe=facts.get("recipe", {}),
        script=tuple(script),
        taken=tuple(settings) if facts.get("loop") else None,
    )
    return Found(workload, settings, facts.get("unasked", {}))


def _adapter(facts: Mapping[str, Any] | None) -> Lora:
    if not facts:
        return Lora()
    values: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in facts.items()}
    return Lora(**values)
