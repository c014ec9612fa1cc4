"""Surfaces that nobody recorded: `python -m benchmarks.replay_synthetic --folder DIR` writes CSV and cases.

Random models by the shape that every surface has (memory affine in the micro-batch, time flat and then affine), with
the arms' effects drawn widely. They have no preset, so a search over them has no shape prior.
"""

from __future__ import annotations

import argparse
import csv
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

GIB = 2**30
BATCHES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)
CARDS_GIB = (16, 24, 40, 80)
RECORDING_CARD_GIB = 80
EFFECTIVE_BATCHES = (16, 48, 64, 256)
FLAT_DEVIATION, AFFINE_DEVIATION, MEMORY_DEVIATION = 0.1, 0.02, 0.01
"""Spread of a row about its arm's curve."""
SLOWER = {"bf16": 1.0, "fp16": 1.0, "tf32": 2.0}
WIDER = {"bf16": 1.0, "fp16": 1.0, "tf32": 1.5}


@dataclass(frozen=True)
class Model:
    """A random model: seconds and bytes at its plainest arm."""

    name: str
    fixed: float
    sample: float
    floor_s: float
    sample_s: float
    optimizer_s: float
    start_s: float


def draw(name: str, rng: np.random.Generator) -> Model:
    """Draw a model: from a small encoder's to a 10 B adapter's figures."""
    floor_s = rng.uniform(0.03, 0.5)
    return Model(
        name,
        fixed=float(np.exp(rng.uniform(np.log(1), np.log(12)))) * GIB,
        sample=float(np.exp(rng.uniform(np.log(0.05), np.log(4)))) * GIB,
        floor_s=floor_s,
        sample_s=floor_s / float(np.exp(rng.uniform(0, np.log(64)))),
        optimizer_s=rng.uniform(0.004, 0.05),
        start_s=rng.uniform(0.6, 5.0),
    )


def rows(model: Model, rng: np.random.Generator) -> Iterator[dict[str, Any]]:
    """Yield the rows of every arm of a model."""
    methods = ("lora", "qlora") if rng.random() < 0.5 else ("full",)
    for method, precision, again in itertools.product(methods, ("bf16", "fp16", "tf32"), (False, True)):
        if method == "qlora" and precision == "tf32":
            continue
        quantized = method == "qlora"
        work = (rng.uniform(1.2, 1.5) if again else 1.0) * (rng.uniform(1.0, 1.3) if quantized else 1.0)
        launch = (rng.uniform(1.2, 1.7) if again else 1.0) * (rng.uniform(1.1, 1.8) if quantized else 1.0)
        fixed = model.fixed * (0.5 if quantized else 1.0) + 1.2 * GIB
        sample = model.sample * WIDER[precision] * (rng.uniform(0.15, 0.6) if again else 1.0)
        head = [model.name, method, precision, str(again).lower(), "adamw_torch_fused"]
        curve = (model.floor_s * launch, model.sample_s * work * SLOWER[precision])
        for batch in BATCHES:
            affine_s = 0.1 * curve[0] + curve[1] * batch
            deviation = FLAT_DEVIATION if affine_s < curve[0] else AFFINE_DEVIATION
            time, memory = np.exp(rng.standard_normal(2) * (deviation, MEMORY_DEVIATION))
            micro_s, used = max(curve[0], affine_s) * float(time), (fixed + sample * batch) * float(memory)
            yield _row(head, batch, micro_s, used, model)


def _row(head: list[str], batch: int, micro_s: float, used: float, model: Model) -> dict[str, Any]:
    names = ("model", "method", "precision", "gradient_checkpointing", "optim")
    ran = used <= RECORDING_CARD_GIB * GIB
    return {
        **dict(zip(names, head, strict=True)),
        "source_length": 512,
        "target_length": "",
        "per_device_train_batch_size": batch,
        "status": "ok" if ran else "oom",
        "forward_backward_ms": micro_s * 1e3 if ran else "",
        "optimizer_step_ms": model.optimizer_s * 1e3 if ran else "",
        "first_two_steps_s": 0.5 + 2 * micro_s if ran else "",
        "build_s": model.start_s,
        "cuda_context_s": 0.3,
        "device_used_bytes": round(used) if ran else "",
    }


def write(folder: Path, surfaces: int, seed: int) -> None:
    """Write that many surfaces, and a case on every card at one effective batch each."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    cases = []
    for number in range(surfaces):
        model = draw(f"synthetic-{number}", rng)
        found = list(rows(model, rng))
        with (folder / f"h100-{model.name}.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=list(found[0]))
            writer.writeheader()
            writer.writerows(found)
        batch = rng.choice(EFFECTIVE_BATCHES)
        cases += [f"- {{model: {model.name}, card_gib: {card}, effective_batch: {batch}}}" for card in CARDS_GIB]
    (folder / "cases.yaml").write_text("\n".join(["cases:", *cases]) + "\n")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="where the files go")
    parser.add_argument("--surfaces", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    write(options.folder, options.surfaces, options.seed)


if __name__ == "__main__":
    main()
