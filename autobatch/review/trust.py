"""How far the figures of a search may be trusted, in sentences that its own measurements support."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from autobatch import attributes
from autobatch.review import words
from autobatch.review.answer import between, is_inference
from autobatch.review.records import Study, Trial
from autobatch.verdict import Kind

_ENOUGH = 3
"""Trials that say something of the predictions: the first is made from shapes alone."""


def sentences(study: Study, trials: Sequence[Trial], answer: Mapping[str, Any]) -> list[str]:
    """Return what speaks for and against the answer."""
    return [*_choice(answer), *_prediction(trials), *_data(study), *_disturbed(trials)]


def _choice(answer: Mapping[str, Any]) -> Iterator[str]:
    chosen = answer.get("chosen")
    if not chosen:
        yield "The search has not chosen a configuration: the figures are those of single short probes."
        return
    if chosen.get("confirmed"):
        longer = "" if is_inference(chosen) else ", longer, evaluation included"
        yield f"The chosen configuration was measured again in a fresh process{longer}."
    else:
        yield "The chosen configuration was not confirmed: its figures are those of one short probe."
    error = chosen["measurements"].get("micro_step_rel_error")
    if error is not None:
        yield f"Its time within that process is known to +/- {words.percent(error, 1)} (95 % interval)."
    if apart := between(chosen):
        yield f"Between processes it differs, too: {apart}."


def _prediction(trials: Sequence[Trial]) -> Iterator[str]:
    kinds = (
        ("memory", attributes.DEVICE_PEAK_GIB, attributes.PREDICTED_PEAK_GIB),
        ("throughput", attributes.SAMPLES_PER_S, attributes.PREDICTED_SAMPLES_PER_S),
    )
    for name, measured, predicted in kinds:
        errors = [abs(p / m - 1) for t in trials if (m := t.figure(measured)) and (p := t.figure(predicted)) and t.ok]
        if len(errors) >= _ENOUGH:
            error = words.percent(statistics.median(errors), 1)
            yield f"The search predicted {name} with a median error of {error} over {len(errors)} trials."


def _data(study: Study) -> Iterator[str]:
    workload = study.workload
    if workload and not workload.get("data") and not workload.get("script"):
        yield "It trained on random tokens with the model's usual lengths, not on data of yours (--data)."
    if (workload.get("lengths") or {}).get("estimated"):
        yield "Token lengths are an estimate: the model's tokenizer was not on the disk."


def _disturbed(trials: Sequence[Trial]) -> Iterator[str]:
    disturbed = sum(trial.verdict == Kind.DISTURBED for trial in trials)
    if disturbed:
        yield f"Another process came onto the card during {words.count(disturbed, 'measurement')}, made again."
