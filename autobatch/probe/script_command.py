"""A person's own command line, `python train.py ARGS`, as something that can run inside the probe's process."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import autobatch
from autobatch.errors import UsageError

ENTRY = "autobatch.probe.script:main"
"""What a probe of a script runs: the `entry` of a `ProbeRunner`."""
_LAUNCHERS = frozenset({"accelerate", "torchrun", "deepspeed", "mpirun", "srun", "bash", "sh"})
_ENVIRONMENTS = frozenset({"uv", "poetry", "pdm", "hatch", "pipenv", "conda", "mamba", "pixi", "rye"})
_VARIABLE = re.compile(r"[A-Za-z_]\w*=.*", re.DOTALL)
_LAUNCHING_MODULES = re.compile(r"(accelerate|deepspeed|torch\.distributed)(\..+)?")
_FLAGS = re.compile(r"-[uOBEIsSPqvdb]+")
_FLAGS_WITH_VALUE = ("-W", "-X")


@dataclass(frozen=True)
class Command:
    """A Python program and its arguments."""

    kind: Literal["file", "module"]
    program: str
    """Path of the file, or name of the module."""
    arguments: tuple[str, ...]

    def beside(self, module: str) -> list[str]:
        """Return how to run a module of ours in the interpreter that is to run this.

        For a file `python` does not look for modules in the present folder, so neither may ours, unless we lie there
        ourselves.
        """
        ours = Path(autobatch.__file__).parents[1]
        safe = self.kind == "file" and ours != Path.cwd()
        return [sys.executable, *(["-P"] if safe else []), "-m", module]


def parse(words: Sequence[str]) -> Command:
    """Read a command line.

    Args:
        words: `python train.py ARGS`, `python -m package.train ARGS` or `train.py ARGS`.

    Raises:
        UsageError: it is no Python program, its file is missing, or it needs another interpreter than this one.

    """
    if not words:
        raise UsageError("There is no command after --.", "Write it as: autobatch search -- python train.py ARGS")
    first = Path(words[0]).name
    if first in _LAUNCHERS:
        raise _launches(first)
    if first in _ENVIRONMENTS or first == "env" or _VARIABLE.fullmatch(words[0]):
        raise _comes_first(words[0])
    if not first.startswith("python"):
        return _program(list(words))
    _check_interpreter(words[0])
    return _program(_without_flags(list(words[1:])))


def _launches(name: str) -> UsageError:
    what = f"{name} starts processes of its own, which a probe cannot look into."
    return UsageError(what, "Write the program itself: autobatch search -- python train.py ARGS")


def _comes_first(word: str) -> UsageError:
    """Say that autobatch runs in the script's environment, which whatever makes it is to make for both."""
    if Path(word).name in _ENVIRONMENTS:
        what = f"{word} starts an interpreter, and a probe of the script runs in that of autobatch."
        return UsageError(what, f"Write it first: {word} run autobatch search -- python train.py ARGS")
    word = "NAME=VALUE" if Path(word).name == "env" else word
    what = f"{word} is no program: the script has the environment variables of autobatch."
    return UsageError(what, f"Write it first: {word} autobatch search -- python train.py ARGS")


def _without_flags(words: list[str]) -> list[str]:
    while words and (_FLAGS.fullmatch(words[0]) or words[0].startswith(_FLAGS_WITH_VALUE)):
        words = words[2:] if words[0] in _FLAGS_WITH_VALUE else words[1:]  # -W ignore, but -Wignore is one word
    return words


def _program(words: list[str]) -> Command:
    if len(words) > 1 and words[0] == "-m":
        if _LAUNCHING_MODULES.fullmatch(words[1]):
            raise _launches(words[1])
        return Command("module", words[1], tuple(words[2:]))
    if not words or words[0].startswith("-"):
        what = f"{' '.join(words) or 'python'} names no program."
        raise UsageError(what, "Give a file or -m MODULE: autobatch search -- python train.py ARGS")
    if Path(words[0]).name in _LAUNCHERS:  # python .venv/bin/torchrun
        raise _launches(Path(words[0]).name)
    if not Path(words[0]).is_file():
        raise UsageError(f"There is no file {words[0]}.", "Name the script, as seen from the current folder.")
    return Command("file", words[0], tuple(words[1:]))


def _check_interpreter(name: str) -> None:
    """Refuse an interpreter of another environment, which has other libraries; a bare `python` means this one."""
    if os.sep not in name:
        return
    found = shutil.which(name)
    if found is None or Path(found).absolute().parent != Path(sys.executable).absolute().parent:
        what = f"The script is to run under {name}, and autobatch runs under {sys.executable}."
        raise UsageError(what, "Install autobatch in the script's environment, and run it there.")
