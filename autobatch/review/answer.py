"""The end of a search in words: what was chosen, what came second, the headroom, the hours, what failed and why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from autobatch.review import words
from autobatch.review.held import held_lines, place
from autobatch.settings import ARM_KEYS, MICRO_BATCH, WORKERS
from autobatch.units import GIB, format_bytes, format_duration
from autobatch.verdict import FLAGS, HINTS, Kind, Measurements

_SAME = 0.02
"""Throughputs closer than this share are a tie."""


def answer_text(answer: Mapping[str, Any]) -> str:
    """Return the answer as a person reads it.

    Args:
        answer: what `Result.to_dict` gives, and where they are known beside it `workload` (`Workload.to_dict`),
            `limits` (`device_bytes`, `device_fraction`, `host_bytes`, `host_fraction`), `database` (its path) and
            `held_back` (`digest` and `configuration` of each).

    """
    return words.clean("\n".join(answer_lines(answer)))


def answer_lines(answer: Mapping[str, Any]) -> list[str]:
    """Return the lines of the answer, the most important first."""
    chosen = answer.get("chosen")
    parts = [
        *(_chosen(answer, chosen) if chosen else _nothing(answer)),
        *_second(answer),
        *_own(answer),
        *_why_it_stopped(answer),
        *_failures(answer),
        *held_lines(answer),
        *_next_step(answer),
    ]
    return list(parts)


def training_seconds(workload: Mapping[str, Any], samples_per_s: float | None) -> float | None:
    """Return the seconds that the whole training takes: epochs x samples / throughput; None where one is unknown."""
    samples = (workload.get("train_samples") or 0) * (workload.get("epochs") or 0)
    return samples / samples_per_s if samples and samples_per_s else None


def training_words(workload: Mapping[str, Any]) -> str:
    """Say how long the whole training is: `3 epochs of 12,457 samples`."""
    epochs, samples = workload.get("epochs") or 0, words.count(workload.get("train_samples") or 0, "sample")
    return f"{epochs:g} {'epoch' if epochs == 1 else 'epochs'} of {samples}"


def headroom(answer: Mapping[str, Any]) -> list[str]:
    """Say how much memory is left on the card and on the host, one line each, as far as it is known."""
    chosen = answer.get("chosen") or {}
    measured, limits = chosen.get("measurements") or {}, answer.get("limits") or {}
    card = measured.get("device_peak_used_bytes") or measured.get("device_peak_reserved_bytes")
    host = measured.get("host_peak_bytes")
    rooms = [_room("host", host, limits.get("host_bytes"), limits.get("host_fraction"))] if host else []
    if card and not host_is_card(limits):
        rooms.insert(0, _room("card", card, limits.get("device_bytes"), limits.get("device_fraction")))
    return rooms


def host_is_card(limits: Mapping[str, Any]) -> bool:
    """Tell whether the training runs on the CPU, where the host's memory is the card's."""
    return limits.get("device_bytes") is not None and limits.get("device_bytes") == limits.get("host_bytes")


def _room(place: str, used: float, size: float | None, fraction: float | None) -> str:
    if not size:
        return f"{place}: {used / GIB:.1f} GiB at most"
    safe = size * (fraction or 1.0)
    below = f"{(safe - used) / GIB:.1f} GiB below the safe limit of {safe / GIB:.1f} GiB"
    return f"{place}: {used / GIB:.1f} of {size / GIB:.1f} GiB at most ({words.percent(used / size)}), {below}"


def _chosen(answer: Mapping[str, Any], chosen: Mapping[str, Any]) -> Iterator[str]:
    measured = chosen["measurements"]
    workload = answer.get("workload") or {}
    yield f"Chosen: {_settings(chosen)}"
    if is_inference(chosen):
        yield f"  speed     {words.number(measured['eval_samples_per_s'])} samples/s of {_evaluating(workload)}"
    else:
        step = f"{words.number(measured.get('step_s'))} s/step"
        tokens = f", {words.number(measured['tokens_per_s'])} tokens/s" if measured.get("tokens_per_s") else ""
        yield f"  speed     {words.number(measured.get('samples_per_s'))} samples/s{tokens}, {step}"
    seconds = training_seconds(workload, measured.get("samples_per_s"))
    if seconds is not None:
        yield f"  training  {training_words(workload)} in about {format_duration(seconds)}, evaluation not counted"
    yield from _loader(chosen)
    yield from _launches(measured)
    for line in headroom(answer):
        yield f"  memory    {line}"
    yield f"  measured  trial {chosen['trial']}, {_sureness(chosen)}"
    yield from (f"  note      {FLAGS[name]}" for name in chosen.get("flags") or () if name in FLAGS)


def is_inference(choice: Mapping[str, Any]) -> bool:
    """Tell whether it was chosen for evaluation alone: nothing was trained."""
    measured = choice["measurements"]
    return not measured.get("samples_per_s") and bool(measured.get("eval_samples_per_s"))


def _settings(choice: Mapping[str, Any]) -> str:
    """Say a configuration; of one for inference, what inference uses."""
    settings = choice["configuration"]
    if not is_inference(choice):
        return words.configuration(settings)
    return f"for inference, {words.configuration(words.used_by_inference(settings))}"


def _evaluating(workload: Mapping[str, Any]) -> str:
    generation = workload.get("generation")
    if not generation:
        return "evaluation (loss alone)"
    beams = words.count(generation["num_beams"], "beam")
    return f"generation, {generation['max_new_tokens']} new tokens each, {beams}"


def _loader(chosen: Mapping[str, Any]) -> Iterator[str]:
    """Say what the DataLoader costs: the time waited for it, and the memory of one worker."""
    measured, workers = chosen["measurements"], int(chosen["configuration"].get(WORKERS) or 0)
    waits, each = measured.get("loader_wait_fraction"), measured.get("loader_worker_bytes")
    said = [f"the device waits {words.percent(waits, 1)} of the time"] if waits is not None else []
    said += [f"one takes {format_bytes(each)} of host memory"] if each and workers else []
    if said:
        yield f"  loader    {words.count(workers, 'worker')}: {', '.join(said)}"


def _launches(measured: Mapping[str, Any]) -> Iterator[str]:
    """Say where the card is not the bound: its kernels are done before the host has launched the next."""
    figures = Measurements.from_dict(measured)
    if figures.launch_bound:
        busy = words.percent(figures.gpu_utilization_fraction)
        yield f"  card      busy {busy} of the time; else it waits for the host to launch kernels"


def _sureness(chosen: Mapping[str, Any]) -> str:
    if is_inference(chosen) and not chosen.get("confirmed"):
        return "the fastest of the batches tried; not confirmed in a fresh process"
    if not chosen.get("confirmed"):
        return "one short probe; not confirmed in a fresh, longer one"
    error = chosen["measurements"].get("micro_step_rel_error")
    within = f", +/- {words.percent(error, 1)} within it" if error is not None else ""
    return f"confirmed in a fresh process{within}{'; ' * bool(between(chosen))}{between(chosen)}"


def between(chosen: Mapping[str, Any]) -> str:
    """Say how far apart the processes were that measured it; nothing where there was one."""
    rates = chosen.get("measured_samples_per_s") or ()
    if len(rates) < 2:  # noqa: PLR2004 - one is apart from nothing
        return ""
    return f"{len(rates)} processes came to {words.number(min(rates))} to {words.number(max(rates))} samples/s"


def _nothing(answer: Mapping[str, Any]) -> Iterator[str]:
    known = "nothing that was tried is known to be safe within the limits"
    tried = known if answer.get("trials") else "none was tried"
    yield f"Nothing was chosen: {tried}."
    if answer.get("held_back"):
        yield "  What is held back is not tried again until `autobatch release` says so, as told below."
    if answer.get("advice"):
        yield f"  What would help: {answer['advice']}"


def _second(answer: Mapping[str, Any]) -> Iterator[str]:
    second, chosen = answer.get("runner_up"), answer.get("chosen")
    if not second or not chosen:
        return
    yield f"Second: {_settings(second)}"
    speed = "eval_samples_per_s" if is_inference(second) else "samples_per_s"
    yield f"  {words.number(second['measurements'].get(speed))} samples/s{compared(answer)}"


def _own(answer: Mapping[str, Any]) -> Iterator[str]:
    """Say what the person's own settings came to."""
    own, chosen = answer.get("own"), answer.get("chosen")
    if not own or not chosen or is_inference(chosen):
        return
    rate, best = (one["measurements"].get("samples_per_s") for one in (own, chosen))
    if rate and best:
        decisive = (MICRO_BATCH, WORKERS, *ARM_KEYS)
        same = all(own["configuration"][name] == chosen["configuration"][name] for name in decisive)
        yield f"Yours: {_settings(own)}"
        times = "" if same else f"; the chosen one comes to {best / rate:.2f} times as much"
        yield f"  {words.number(rate)} samples/s{'' if own.get('confirmed') else ' in a short probe'}{times}"


def compared(answer: Mapping[str, Any]) -> str:
    """Say the second beside the chosen one, over the whole training: `: 104 min for the training, 18 min longer`."""
    rates = [answer[place]["measurements"].get("samples_per_s") for place in ("chosen", "runner_up")]
    workload = answer.get("workload") or {}
    best, other = (training_seconds(workload, rate) for rate in rates)
    if best is None or other is None or not all(rates):
        return ""
    said = f": {format_duration(other)} for the training against {format_duration(best)}"
    if abs(rates[1] / rates[0] - 1) <= _SAME:
        return said + ", as good as equal; the chosen one needs less memory or fewer workers"
    if other < best and not answer["runner_up"].get("confirmed"):
        sure = "was confirmed" if answer["chosen"].get("confirmed") else "is the faster by all probes together"
        return said + f", by short probes alone: the chosen one {sure}"
    return said + f", {format_duration(abs(other - best))} {'longer' if other > best else 'shorter'}"


def _why_it_stopped(answer: Mapping[str, Any]) -> Iterator[str]:
    stopped = str(answer.get("stopped") or "not said").rstrip(".")
    yield f"Stopped: {stopped}."
    gain = answer.get("remaining_gain")
    left = f"; {words.percent(gain, 1)} left to gain, as far as the search can tell" if gain is not None else ""
    spent = format_duration(answer.get("elapsed_s") or 0.0)
    yield f"  {words.count(answer.get('probes') or 0, 'probe')} in {spent}{left}"


def _failures(answer: Mapping[str, Any]) -> Iterator[str]:
    failures = {kind: n for kind, n in (answer.get("failures") or {}).items() if kind != Kind.HOPELESS}
    if failures:
        yield f"Failed: {words.count(sum(failures.values()), 'probe')}."
    for kind, count in sorted(failures.items(), key=lambda item: -item[1]):
        said = (answer.get("failure_hints") or {}).get(kind) or (HINTS[Kind(kind)] if kind in set(Kind) else "")
        yield f"  {count} x {kind}: {said}"


def _next_step(answer: Mapping[str, Any]) -> Iterator[str]:
    if answer.get("interrupted"):
        yield "Interrupted: the same command goes on where this stopped."
    if answer.get("chosen"):
        yield f"Next: autobatch export best.yaml{place(answer)}"
