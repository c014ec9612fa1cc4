"""A frozen file in words: what it is, what it promises, and what its format cannot say."""

from __future__ import annotations

from autobatch import __version__
from autobatch.export import recipe, targets
from autobatch.export.chosen import Chosen
from autobatch.review import words
from autobatch.settings import EVAL_BATCH, OPTIM
from autobatch.units import format_bytes
from autobatch.verdict import Measurements


def summary(chosen: Chosen, target: str) -> str:
    """Return a few lines for the head of the file and for a person."""
    lines = [
        f"Frozen by autobatch {__version__}: do not edit. `autobatch check FILE` says whether it still holds.",
        f"Study {chosen.study}, trial {chosen.trial}, {chosen.workload.model.name}.",
        *([] if chosen.is_inference else [_effective_batch(chosen)]),
        *_promises(chosen),
        *remarks(chosen, target),
    ]
    return "\n".join(map(words.one_line, lines))


def remarks(chosen: Chosen, target: str) -> tuple[str, ...]:
    """Return what a person should know of the settings, be they in a file of their own or in the person's."""
    lines = [
        *_unmeasured(chosen),
        *_unconfirmed(chosen),
        *_of_recipe(chosen),
        *_left_out(chosen),
        *_environment(chosen, target),
        *_elsewhere(chosen, target),
    ]
    return tuple(map(words.one_line, lines))


def _unmeasured(chosen: Chosen) -> list[str]:
    """Say which settings of training were not measured, and so are found in no file."""
    untrained = ", ".join(chosen.untrained)
    what = f"Left out, as they were not measured: {untrained}."
    return [f"It was chosen for inference, and nothing was trained. {what}"] if untrained else []


def _unconfirmed(chosen: Chosen) -> list[str]:
    if chosen.evidence.get("confirmed") is not False:
        return []
    how = "`autobatch verify` of a frozen file does that"
    return [f"Measured by one short probe, not confirmed in a longer one: {how}."]


def _left_out(chosen: Chosen) -> list[str]:
    """Say which settings a person's own loop does not ask for, and so finds in no file."""
    unasked = ", ".join(name for name in chosen.unasked if name not in chosen.untrained)
    return [f"Left out, as the loop never asked for them: {unasked}."] if unasked else []


def _effective_batch(chosen: Chosen) -> str:
    values = chosen.configuration
    product = f"{values.micro_batch} x {values.accumulation} x {chosen.devices} device(s)"
    return f"Effective batch {chosen.effective_batch} = {product}."


def _of_recipe(chosen: Chosen) -> tuple[str, ...]:
    if chosen.is_inference:
        return ()
    before, optimizer = _batch_of_recipe(chosen), str(chosen.configuration[OPTIM])
    return recipe.remarks(chosen.workload, before, chosen.effective_batch, optimizer)


def _batch_of_recipe(chosen: Chosen) -> int | None:
    return chosen.workload.recipe_batch or chosen.workload.effective_batch


def _environment(chosen: Chosen, target: str) -> list[str]:
    """Say which variables the measurement had, where the format itself does not set them."""
    if target == "env":
        return []
    variables = " ".join(f"{name}={value}" for name, value in chosen.environment.items())
    run = "evaluate" if chosen.is_inference else "train"
    return [f"Measured with these environment variables, so {run} with them: {variables}"]


def _elsewhere(chosen: Chosen, target: str) -> list[str]:
    listed = ", ".join(f"{key}={value}" for key, value in targets.get(target).elsewhere(chosen).items())
    return [f"Not in this format, set elsewhere: {listed}."] if listed else []


def _of_which(figures: Measurements) -> str:
    """Say what training and evaluation need each, where both were measured."""
    training, evaluation = figures.train_device_peak_used_bytes, figures.eval_device_peak_used_bytes
    if training is None or evaluation is None:
        return ""
    return f" (training {format_bytes(training)}, evaluation {format_bytes(evaluation)})"


def _promises(chosen: Chosen) -> list[str]:
    figures, limits = chosen.measurements, chosen.limits
    lines = []
    if figures.step_s is not None and figures.samples_per_s is not None:
        lines.append(f"Promised: {figures.step_s:.4g} s/step, {figures.samples_per_s:.4g} samples/s.")
    if chosen.is_inference:
        batch = chosen.configuration[EVAL_BATCH]
        lines.append(f"Promised: {figures.eval_samples_per_s:.4g} samples/s of evaluation at eval batch {batch}.")
    if figures.device_peak_used_bytes is not None:
        size = f" of {format_bytes(limits.device_bytes)}" if limits.device_bytes else ""
        peak = format_bytes(figures.device_peak_used_bytes)
        lines.append(f"Device peak with the longest batch: {peak}{size}{_of_which(figures)}.")
    return lines
