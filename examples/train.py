"""A full training run on a frozen configuration, which prints its own s/step and memory beside the file's promise.

python examples/train.py best.yaml [--model PRESET] [--data FILE] [--max-steps N] [--json FILE] [--output DIR]

Without weights on disk the model starts from random ones: it learns, but nothing to be proud of.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autobatch import load
from autobatch.errors import AutobatchError
from autobatch.export.frozen import Frozen
from autobatch.units import format_bytes
from autobatch.workload import data, resolve
from autobatch.workload.spec import Workload

if TYPE_CHECKING:
    from autobatch import Callback
    from autobatch.probe.device import Peak


def options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="what `autobatch export` wrote")
    parser.add_argument("--model", help="another model than it was frozen for")
    parser.add_argument("--data", type=Path, help="another data set: JSON Lines, CSV, Parquet or a folder of text")
    parser.add_argument("--text-column")
    parser.add_argument("--summary-column")
    parser.add_argument("--max-steps", type=int, default=-1, help="optimizer steps; without it, the workload's epochs")
    parser.add_argument("--json", type=Path, help="write all figures there")
    parser.add_argument("--output", type=Path, help="folder to save the trained model to")
    return parser.parse_args()


def prepare_process(frozen: Frozen) -> None:
    """Set what CUDA reads when it starts: what it was measured with, and one card where it was measured on one."""
    frozen.set_environment()
    kind, _, index = frozen.chosen.device.partition(":")
    if kind == "cuda" and frozen.chosen.devices == 1:
        os.environ.setdefault("CUDA_VISIBLE_DEVICES", index or "0")


def workload_of(frozen: Frozen, chosen: argparse.Namespace) -> Workload:
    """Return the workload of the file, with another model or other data where those were asked for."""
    workload = frozen.workload
    if chosen.model:
        workload = replace(resolve.resolve(chosen.model), data=workload.data)
    if chosen.data:
        found = data.describe(chosen.data, workload, chosen.text_column, chosen.summary_column)
        count = found.data.samples or workload.train_samples
        workload = replace(workload, data=found.data, lengths=found.lengths, train_samples=count)
    return workload


def samples_of(workload: Workload, vocabulary: int) -> Any:  # noqa: ANN401 - a data set
    """Return the samples that a probe trains on too: the workload's own text, or random tokens of its lengths."""
    from torch.utils.data import Subset

    from autobatch.probe.material import open_samples

    samples = open_samples(workload, vocabulary)
    # a working profile may train on a part of the data
    return Subset(samples, range(min(len(samples), workload.train_samples)))


def train(frozen: Frozen, workload: Workload, chosen: argparse.Namespace) -> tuple[Callback, Peak, float]:
    """Train, and return what the callback saw, the memory's peak, and the loss."""
    import torch
    from transformers import Seq2SeqTrainer, Seq2SeqTrainingArguments

    from autobatch import Callback
    from autobatch.probe.build import build_model
    from autobatch.probe.collate import collator
    from autobatch.probe.device import CudaMeter, HostMeter
    from autobatch.probe.material import tokenizer_of

    kind, limit = frozen.chosen.device_kind, frozen.chosen.limits.device_bytes
    meter = CudaMeter(limit) if kind == "cuda" else HostMeter(limit)
    meter.start()
    device = torch.device(kind)
    model: Any = build_model(workload, frozen.configuration, device)
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    with tempfile.TemporaryDirectory() as scratch:
        arguments = Seq2SeqTrainingArguments(
            **workload.recipe,
            output_dir=str(chosen.output or scratch),
            num_train_epochs=workload.epochs,
            max_steps=chosen.max_steps,
            save_strategy="no",
            report_to="none",
            logging_steps=10,
            disable_tqdm=not sys.stderr.isatty(),
        )
        callback = Callback(frozen)
        trainer = Seq2SeqTrainer(
            model=model,
            args=frozen.apply(arguments),
            train_dataset=samples_of(workload, base.config.vocab_size),
            data_collator=collator(tokenizer_of(base), base if base.config.is_encoder_decoder else None),
            callbacks=[callback],
        )
        meter.reset()
        loss = trainer.train().training_loss
        if chosen.output:
            trainer.save_model()
    return callback, meter.peak(), loss


def figures(frozen: Frozen, callback: Callback, peak: Peak, loss: float) -> dict[str, Any]:
    """Return what was measured beside what was promised, JSON-ready."""
    times = callback.step_times
    step_s = sum(times) / len(times) if times else None
    return {
        "file": str(frozen.path),
        "steps": callback.steps,
        "step_s": step_s,
        "step_times": times,
        "samples_per_s": frozen.chosen.effective_batch / step_s if step_s else None,
        "device_peak_used_bytes": peak.used,
        "device_peak_reserved_bytes": peak.reserved,
        "device_peak_allocated_bytes": peak.allocated,
        "allocation_retries": peak.retries,
        "loss": loss,
        "promised": frozen.promised.to_dict(),
        "warned": sorted(callback.warned),
    }


def report(found: dict[str, Any]) -> str:
    """Return the figures as a small table. This run does not evaluate, so its peak is held against that of training."""
    promised, rows = found["promised"], [("", "promised", "real", "")]
    for name, of_promise, key, write in (
        ("s/step", "step_s", "step_s", "{:.4g}".format),
        ("samples/s", "samples_per_s", "samples_per_s", "{:.4g}".format),
        ("training peak", "train_device_peak_used_bytes", "device_peak_used_bytes", format_bytes),
    ):
        old, new = promised.get(of_promise), found[key]
        change = f"{new / old - 1:+.1%}" if old and new else ""
        rows.append((name, write(old) if old else "-", write(new) if new else "-", change))
    return "\n".join("{:<14}{:>12}{:>12}{:>9}".format(*row) for row in rows)


def main() -> None:
    """Load the file, warn where it does not hold here, train, and compare."""
    chosen = options()
    frozen = load(chosen.file)
    for difference in frozen.check():
        if difference.matters:
            print(
                f"warning: {difference.name}: {difference.was} -> {difference.now}. {difference.why}", file=sys.stderr
            )
    prepare_process(frozen)
    found = figures(frozen, *train(frozen, workload_of(frozen, chosen), chosen))
    print(report(found))
    if chosen.json:
        chosen.json.write_text(json.dumps(found, indent=2), encoding="utf-8")


if __name__ == "__main__":
    try:
        main()
    except AutobatchError as error:
        sys.exit(f"train.py: {error.what}\n  -> {error.do}")
