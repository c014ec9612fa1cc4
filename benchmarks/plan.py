"""Judge memory predictions by recorded surfaces: `python -m benchmarks.plan --surfaces DIR [--json FILE]`.

Nothing of the surfaces is used but their settings, lengths and trained parameters; every `ok` row is predicted.
"""

from __future__ import annotations

import argparse
import csv
import json
import statistics
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from autobatch import settings
from autobatch.errors import UsageError
from autobatch.estimate import memory, shapes
from autobatch.settings import Configuration
from autobatch.workload import presets
from autobatch.workload.spec import Lora, Workload
from benchmarks import arguments

GIB = 2**30
CARDS_GIB = (10, 16, 24, 40, 80)
RECORDED = memory.Loop(
    embeddings_full=False, smooths_labels=False, nested_scales=True, plain_adapters=True, accumulates=False
)
"""How the surfaces were recorded: a bare loop without accumulation, its linear layers replaced by 4-bit ones by hand.

So nf4 scales are themselves quantised (one byte a block of 64 is resident, whatever is said of them elsewhere), and
peft takes the layers for plain ones.
"""
_OPTIMIZERS = {"adamw_bnb_8bit": "adamw_8bit"}
_SEQ2SEQ = Lora(r=64, target_modules=("q", "k", "v", "o", "q_proj", "k_proj", "v_proj", "out_proj"))
_CAUSAL = Lora(r=16, target_modules="all-linear")


@dataclass(frozen=True)
class Judged:
    """One row: what was predicted, and what was measured."""

    row: Mapping[str, str]
    predicted: int
    predicted_used: int
    measured: int
    measured_used: int

    @property
    def error(self) -> float:
        """Predicted over measured, less one."""
        return self.predicted / self.measured - 1

    def false_fit(self, card_gib: float) -> bool:
        """Tell whether it was said to fit a card that it does not fit."""
        return self.predicted_used <= card_gib * GIB < self.measured_used

    def to_dict(self) -> dict[str, Any]:
        """Return the row of the JSON file."""
        names = ("model", "method", "precision", "gradient_checkpointing", "optim", settings.MICRO_BATCH)
        return {
            **{name: _plain(self.row[name]) for name in names},
            "predicted_bytes": self.predicted,
            "measured_bytes": self.measured,
        }


def judge(path: Path) -> list[Judged]:
    """Predict every `ok` row of a surface.

    Raises:
        UsageError: its model is no preset.

    """
    with path.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["status"] == "ok"]
    return [_judged(row, recorded_workload(row["model"], rows)) for row in rows]


def recorded_workload(model: str, rows: Iterable[Mapping[str, str]]) -> Workload:
    """Return the preset as it was recorded: its head tied where the trained parameters say so."""
    workload = presets.load(model)
    full = next((int(row["trainable_parameters"]) for row in rows if row["method"] == "full"), None)
    if (
        full is not None
        and full == shapes.read(workload.model).parameters - shapes.read(workload.model).groups()["head"]
    ):
        tied = {**workload.model.config, "tie_word_embeddings": True}
        workload = replace(workload, model=replace(workload.model, config=tied))
    return replace(workload, lora=_SEQ2SEQ if workload.model.family == "seq2seq" else _CAUSAL)


def recorded_configuration(row: Mapping[str, str]) -> Configuration:
    """Return the configuration of a row."""
    quantized = row["method"] == "qlora"
    return Configuration(
        {
            settings.METHOD: "lora" if quantized else row["method"],
            settings.QUANTIZATION: "nf4" if quantized else "none",
            settings.PRECISION: row["precision"],
            settings.CHECKPOINTING: row["gradient_checkpointing"].lower() == "true",
            settings.OPTIM: _OPTIMIZERS.get(row["optim"], row["optim"]),
            settings.MICRO_BATCH: int(row["per_device_train_batch_size"]),
        }
    )


def _judged(row: Mapping[str, str], workload: Workload) -> Judged:
    found = memory.predict(
        workload,
        recorded_configuration(row),
        source_tokens=int(row["source_length"]),
        target_tokens=int(row["target_length"] or 0),
        loop=RECORDED,
    )
    measured, used = int(row["peak_reserved_bytes"]), int(row["device_used_bytes"])
    return Judged(row, found.bytes, found.used_bytes, measured, used)


def _plain(text: str) -> str | int | bool:
    if text.lower() in {"true", "false"}:
        return text.lower() == "true"
    return int(text) if text.isdigit() else text


def summary(name: str, judged: list[Judged], seconds: float) -> str:
    """Return one line of the table."""
    errors = sorted(abs(j.error) for j in judged)
    p90 = statistics.quantiles(errors, n=10, method="inclusive")[-1] if len(errors) > 1 else errors[0]
    fits = sum(j.false_fit(card) for j in judged for card in CARDS_GIB)
    cases = sum(j.measured_used > card * GIB for j in judged for card in CARDS_GIB)
    median, bias = statistics.median(errors), statistics.mean(j.error for j in judged)
    return (
        f"{name:34} {len(judged):5} {median:8.1%} {p90:8.1%} {errors[-1]:8.1%} {bias:+8.1%}"
        f" {f'{fits} of {cases}':>12} {seconds:7.2f}"
    )


def main() -> None:
    """Print the table, and write the JSON file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--surfaces", type=arguments.surfaces, required=True)
    parser.add_argument("--only", nargs="*", default=[], help="models to judge; all unless given")
    parser.add_argument("--json", type=arguments.output)
    options = parser.parse_args()
    everything: list[Judged] = []
    head = ("median", "p90", "worst", "bias", "false fits", "seconds")
    print(
        f"{'model':34} {'rows':>5} "
        + " ".join(f"{word:>{w}}" for word, w in zip(head, (8, 8, 8, 8, 12, 7), strict=True))
    )
    total = time.process_time()
    for path in sorted(options.surfaces.glob("*.csv")):
        name = path.stem.partition("-")[2]
        if options.only and name not in options.only:
            continue
        start = time.process_time()
        try:
            judged = judge(path)
        except UsageError as error:
            print(f"{name}: {error.what}")
            continue
        everything += judged
        print(f"{name}: no row that ran" if not judged else summary(name, judged, time.process_time() - start))
    if not everything:
        parser.error("no surface that was asked for holds a row to judge.")
    print(summary("all", everything, time.process_time() - total))
    if options.json:
        options.json.write_text(json.dumps({"rows": [j.to_dict() for j in everything]}, indent=1) + "\n")


if __name__ == "__main__":
    main()
