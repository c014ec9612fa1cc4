"""Lays a frozen file over a training run: its environment variables and its training arguments."""

from __future__ import annotations

import copy
import dataclasses
import os
import sys
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from autobatch.arguments import environment, renew, without_workers
from autobatch.errors import UsageError
from autobatch.export import rivals

if TYPE_CHECKING:
    from autobatch.export.frozen import Frozen

T = TypeVar("T")
_WAYS_TO_COMPILE = ("torch_compile_backend", "torch_compile_mode")
"""transformers fills the first in, and compiles wherever one is set; it was measured with neither."""


def set_environment(frozen: Frozen) -> None:
    """Set the environment variables that it was measured with; warn where CUDA has started without them."""
    wanted = environment(frozen.configuration, frozen.chosen.device_kind)
    wrong = {name: value for name, value in wanted.items() if os.environ.get(name) != value}
    torch = sys.modules.get("torch")
    if wrong and torch is not None and torch.cuda.is_initialized():
        listed = ", ".join(f"{name}={value or ''}" for name, value in wrong.items())
        message = f"CUDA has started already, so what it was measured with does not count: {listed}. Load it first."
        warnings.warn(message, stacklevel=3)
    for name, value in wrong.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def refuse_changed(frozen: Frozen) -> None:
    """Make sure that the file is as it was frozen.

    Raises:
        UsageError: it was changed by hand.

    """
    if frozen.intact:
        return
    keys = ", ".join(edit.key for edit in frozen.edits) or "its provenance does not match its checksum"
    what = f"{frozen.path.name} was changed by hand since it was frozen, and this was not measured: {keys}."
    raise UsageError(
        what, "Write it again with `autobatch export`, or take it as it is: apply(arguments, edited=True)."
    )


def lay_over(frozen: Frozen, training_args: T) -> T:
    """Lay the arguments over a TrainingArguments, in place, and return it; warn of what in it works against them.

    Raises:
        UsageError: it has no such argument, or refuses a value.

    """
    assert dataclasses.is_dataclass(training_args)
    assert not isinstance(training_args, type)
    arguments = frozen.arguments
    unknown = sorted(arguments.keys() - {field.name for field in dataclasses.fields(training_args) if field.init})
    if unknown:
        raise _refusal(frozen, training_args, f"it knows no {', '.join(unknown)}")
    complete = _complete(arguments)
    try:
        fresh = copy.copy(training_args)
        vars(fresh).update(complete)
        renew(fresh)
    except (TypeError, ValueError) as error:
        raise _refusal(frozen, training_args, str(error)) from error
    vars(training_args).update(vars(fresh))
    _warn_of_rivals(training_args, complete)
    return training_args


def _complete(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Add what must be off beside the arguments, whatever a person's own say."""
    return {**dict.fromkeys(_WAYS_TO_COMPILE), **without_workers(arguments), **arguments}


def _warn_of_rivals(training_args: object, laid: Mapping[str, Any]) -> None:
    for name, why in rivals.COMMON.items():
        if name not in laid and getattr(training_args, name, None):
            warnings.warn(f"{name} is set, and {why}. It was left as it is.", stacklevel=4)


def _refusal(frozen: Frozen, training_args: object, why: str) -> UsageError:
    what = f"{type(training_args).__name__} does not take the arguments of {frozen.path.name}: {why.rstrip('.')}."
    return UsageError(what, "Take out what was added by hand; for another transformers, write it again.")
