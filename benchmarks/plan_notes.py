"""Put a plan beside what guides say: `python -m benchmarks.plan_notes` prints Markdown tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from autobatch.estimate import cards, memory
from autobatch.estimate.host import predict_host
from autobatch.estimate.plan import DEVICE_SHARE, largest
from autobatch.settings import Configuration
from autobatch.workload import presets
from autobatch.workload.spec import Lengths, Model, Workload

NOTES = Path(__file__).with_name("plan_notes.yaml")
SIZES = tuple(range(1, 257))
GB = 1e9
HEADINGS = (
    *("card", "model", "method", "tokens", "their micro-batch", "their memory"),
    *("plan at theirs", "with checkpointing", "plan's largest", "with checkpointing"),
)


def tables() -> Iterator[str]:
    """Write every table of the notes in Markdown."""
    notes = yaml.safe_load(NOTES.read_text())
    for table in notes["tables"]:
        yield f"### {table['title']}\n"
        yield f"| {' | '.join(HEADINGS)} |"
        yield "|---" * len(HEADINGS) + "|"
        yield from (line(row, notes["shapes"]) for row in table["rows"])
        yield ""


def line(row: Mapping[str, Any], shapes: Mapping[str, Mapping[str, Any]]) -> str:
    """Write one row: what they say, what is predicted at their micro-batch, and what should fit within the limit."""
    workload, card = workload_of(row, shapes), cards.find(row["card"])
    limit = round(card.memory_bytes * DEVICE_SHARE)
    arms = [arm_of(row, checkpointing=checkpointing) for checkpointing in (False, True)]
    predicted = [memory.predict(workload, arm).used_bytes for arm in arms]
    fits = [largest(workload, arm, SIZES, limit) for arm in arms]
    claim = f"{row['claim']} GB" + (" (measured)" if row.get("measured") else "")
    shown = [f"{size / GB:.1f} GB{'' if size <= limit else ' (over)'}" for size in predicted]
    tokens = "{} + {}".format(*row["tokens"])
    method = f"{row['method']}, {row['precision']}"
    own = (row["card"], row["model"], method, tokens, str(row["micro_batch"]), claim)
    return f"| {' | '.join((*own, *shown, *(str(size or 'none') for size in fits)))} |"


def workload_of(row: Mapping[str, Any], shapes: Mapping[str, Mapping[str, Any]]) -> Workload:
    """Return a row's workload: a preset, or one of the notes' own shapes with the adapter of the mT5 preset."""
    name, (source, target) = row["model"], row["tokens"]
    workload = presets.load("mt5-xlsum" if name in shapes else name)
    if name in shapes:
        workload = replace(workload, model=Model(name, name, "seq2seq", shapes[name]))
    lengths = Lengths((source, source), (target, target))
    free = replace(workload, lengths=lengths, max_source_length=source, max_target_length=target)
    return replace(free, effective_batch=None)


def arm_of(row: Mapping[str, Any], *, checkpointing: bool) -> Configuration:
    """Return a row's configuration."""
    method, _, quantization = row["method"].partition(" on ")
    return Configuration(
        method=method,
        quantization=quantization or "none",
        precision=row["precision"],
        gradient_checkpointing=checkpointing,
        per_device_train_batch_size=row["micro_batch"],
    )


def host_table() -> Iterator[str]:
    """Write host memory by workers of the mT5 workload, beside the formula of the notes."""
    workload = presets.load("mt5-xlsum")
    yield "### Host memory by DataLoader workers\n"
    yield "| workers | theirs: 20 GB + 2 GB a worker | plan |"
    yield "|---|---|---|"
    for workers in (0, 8, 16, 32):
        arm = Configuration(per_device_train_batch_size=12, dataloader_num_workers=workers)
        yield f"| {workers} | {20 + 2 * workers} GB | {predict_host(workload, arm).bytes / GB:.1f} GB |"


def main() -> None:
    """Print everything."""
    for text in (*tables(), *host_table()):
        print(text)


if __name__ == "__main__":
    main()
