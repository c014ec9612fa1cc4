"""A plan as text for a person, and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from autobatch import settings
from autobatch.errors import UsageError
from autobatch.estimate import cards, shapes
from autobatch.estimate import plan as planning
from autobatch.estimate.cards import Card
from autobatch.estimate.memory import GIB, Prediction, longest_tokens
from autobatch.estimate.plan import ArmPlan
from autobatch.units import format_bytes, parse_bytes
from autobatch.workload.check import check_batch
from autobatch.workload.resolve import resolve
from autobatch.workload.spec import Workload

_EXPLANATION = (
    f"Predicted from shapes alone, with the uncertainty +/-. 'fits' leaves {planning.SIGMAS:.0f} times that below the"
    " limit, 'tight' nothing. `autobatch search` measures."
)


@dataclass(frozen=True)
class Report:
    """Plans of one workload on one or more cards, and host memory by workers."""

    workload: Workload
    plans: Sequence[tuple[Card, list[ArmPlan]]]
    host: Sequence[tuple[int, Prediction]]
    ram_bytes: int | None

    def to_json(self) -> str:
        """Return everything as JSON text; sizes are bytes."""
        plans = [{**_card(card), "arms": [arm.to_dict() for arm in arms]} for card, arms in self.plans]
        host = [{"workers": n, "bytes": p.bytes, "rel_sigma": p.rel_sigma, "parts": p.parts} for n, p in self.host]
        data: dict[str, Any] = {
            "model": self.workload.model.name,
            "parameters": shapes.read(self.workload.model).parameters,
            "longest_tokens": list(longest_tokens(self.workload)),
            "effective_batch": self.workload.effective_batch,
            "device_share": planning.DEVICE_SHARE,
            "cards": plans,
            "host": host,
        }
        return json.dumps(data, indent=1)

    def to_text(self) -> str:
        """Return tables for a person."""
        lines = [self._heading(), ""]
        if len(self.plans) > 1:
            lines += [*_comparison(self.plans), ""]
        else:
            card, arms = self.plans[0]
            lines += [_limits(card), *_table(_HEADINGS, map(_cells, arms)), *_ruled_out(arms), ""]
        lines += self._host_lines()
        lines.append(_EXPLANATION)
        return "\n".join(lines)

    def _heading(self) -> str:
        source, target = longest_tokens(self.workload)
        count = shapes.read(self.workload.model).parameters
        tokens = f"{source} + {target}" if target else f"{source}"
        batch = self.workload.effective_batch or "free"
        return f"{self.workload.model.name}: {count / 1e6:,.0f} M parameters, {tokens} tokens, effective batch {batch}"

    def _host_lines(self) -> list[str]:
        limit = None if self.ram_bytes is None else self.ram_bytes * planning.HOST_SHARE
        parts = []
        for workers, predicted in self.host:
            over = " (over)" if limit is not None and predicted.bytes > limit else ""
            parts.append(f"{workers}: {format_bytes(predicted.bytes)}{over}")
        within = "" if limit is None else f", limit {format_bytes(limit)}"
        return [f"Host memory by DataLoader workers{within}: " + ", ".join(parts), ""]


def make(model: str, gpus: Iterable[str], ram: str | None, effective_batch: int | None) -> Report:
    """Plan a model on cards.

    Raises:
        UsageError: the model, a card or a size is not known.

    """
    wanted = [cards.find(gpu) for gpu in gpus if gpu.strip()]
    if not wanted:
        raise UsageError("No card is named.", f"Say {', '.join(cards.names())}, or a size such as 24GiB.")
    ram_bytes = parse_bytes(ram) if ram else None
    workload = resolve(model)
    if effective_batch:
        workload = replace(workload, effective_batch=effective_batch)
    check_batch(workload)
    plans = [(card, planning.plan(workload, card)) for card in wanted]
    largest = max((arm.fits for _, arms in plans for arm in arms), default=1) or 1
    return Report(workload, plans, planning.host_table(workload, largest), ram_bytes)


_HEADINGS = (
    "method",
    "precision",
    "checkpointing",
    "optim",
    "at 1",
    "+/-",
    "a sample",
    "fits",
    "tight",
    "at fits",
    "samples/s",
)


def _cells(arm: ArmPlan) -> tuple[str, ...]:
    assert arm.smallest is not None
    fits = str(arm.fits or "no") if arm.tight else "no"
    return (
        *_names(arm),
        f"{arm.smallest.used_bytes / GIB:.1f} GiB",
        f"{arm.smallest.rel_sigma:.0%}",
        f"{arm.per_sample_bytes / GIB:.2f} GiB" if arm.tight else "",
        fits,
        str(arm.tight) if arm.tight > arm.fits else "",
        f"{arm.fits_bytes / GIB:.1f} GiB" if arm.fits else "",
        f"{arm.samples_per_s:.3g}" if arm.samples_per_s else "",
    )


def _names(arm: ArmPlan) -> tuple[str, str, str, str]:
    chosen = arm.configuration
    method = str(chosen[settings.METHOD])
    if chosen[settings.QUANTIZATION] != "none":
        method += f" on {chosen[settings.QUANTIZATION]}"
    checkpointing = "yes" if chosen[settings.CHECKPOINTING] else "no"
    return method, str(chosen[settings.PRECISION]), checkpointing, str(chosen[settings.OPTIM])


def _limits(card: Card) -> str:
    limit = card.memory_bytes * planning.DEVICE_SHARE
    share = f"{planning.DEVICE_SHARE:.0%}"
    return f"{card.title}: {format_bytes(card.memory_bytes)}, limit {share} = {format_bytes(limit)}"


def _ruled_out(arms: Sequence[ArmPlan]) -> list[str]:
    """Say in a line which methods have no arm that can fit, and what the smallest of them needs."""
    lines = []
    for method in dict.fromkeys(_names(arm)[0] for arm in arms):
        own = [arm for arm in arms if _names(arm)[0] == method]
        sizes = [arm.smallest.used_bytes for arm in own if arm.smallest and not arm.tight]
        if len(sizes) == len(own):
            lines.append(f"Ruled out: {method}, in every arm; the smallest needs {format_bytes(min(sizes))}.")
    return lines


def _comparison(plans: Sequence[tuple[Card, list[ArmPlan]]]) -> list[str]:
    """Put cards side by side; arms meet by method, width of precision, checkpointing and optimizer."""
    rows = []
    for arms in zip(*(arms for _, arms in plans), strict=True):
        method, _, checkpointing, optim = _names(arms[0])
        precision = "/".join(dict.fromkeys(str(arm.configuration[settings.PRECISION]) for arm in arms))
        rows.append((method, precision, checkpointing, optim, *(_verdict(arm) for arm in arms)))
    heads = tuple(f"{card.name} ({card.memory_bytes / GIB:.0f} GiB)" for card, _ in plans)
    return _table(("method", "precision", "checkpointing", "optim", *heads), rows)


def _verdict(arm: ArmPlan) -> str:
    if not arm.tight:
        return "does not fit"
    return f"{arm.fits or '-'}" + (f" ({arm.tight} tight)" if arm.tight > arm.fits else "")


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    cells = [headings, *rows]
    widths = [max(len(row[i]) for row in cells) for i in range(len(headings))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]


def _card(card: Card) -> dict[str, Any]:
    return {"card": card.name, "title": card.title, "memory_bytes": card.memory_bytes}
