"""What a new length costs: KoBART steps on lengths that come for the first time, with and without cuDNN's attention.

    python -m benchmarks.attention [--model kobart] [--batch 8] [--steps 10] [--json FILE]

A bare loop on a CUDA card, bf16 autocast, half of the samples padded. A figure is one step, synchronised, in seconds.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from statistics import median
from typing import Any

import torch
import transformers

from autobatch.probe.build import build_model
from autobatch.settings import Configuration
from autobatch.workload import presets

LONGEST = (1026, 200)


def shapes(count: int, generator: torch.Generator) -> list[tuple[int, int]]:
    """Return source and target lengths drawn at random."""
    sources = torch.randint(100, LONGEST[0], (count,), generator=generator).tolist()
    targets = torch.randint(20, LONGEST[1], (count,), generator=generator).tolist()
    return list(zip(sources, targets, strict=True))


def step(model: Any, optimizer: torch.optim.Optimizer, batch: int, lengths: tuple[int, int]) -> float:  # noqa: ANN401 - a transformers model
    """Train one step on random tokens, and return its seconds."""
    source, target = (torch.randint(5, 30_000, (batch, length), device="cuda") for length in lengths)
    mask = torch.ones_like(source)
    mask[: batch // 2, -3:] = 0
    torch.cuda.synchronize()
    started = time.perf_counter()
    with torch.autocast("cuda", torch.bfloat16):
        loss = model(input_ids=source, attention_mask=mask, labels=target).loss
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()
    torch.cuda.synchronize()
    return round(time.perf_counter() - started, 4)


def measure(name: str, batch: int, count: int) -> dict[str, list[float]]:
    """Return the seconds of steps on one length, on new ones, on the same again, and on new ones without cuDNN."""
    model = build_model(presets.load(name), Configuration(precision="bf16"), torch.device("cuda")).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True)
    generator = torch.Generator().manual_seed(1)
    first, second = shapes(count, generator), shapes(count, generator)
    found = {"one length": [step(model, optimizer, batch, LONGEST) for _ in range(6)]}
    found["new lengths"] = [step(model, optimizer, batch, lengths) for lengths in first]
    found["the same lengths again"] = [step(model, optimizer, batch, lengths) for lengths in first]
    torch.backends.cuda.enable_cudnn_sdp(enabled=False)
    found["new lengths without cuDNN"] = [step(model, optimizer, batch, lengths) for lengths in second]
    return found


def main() -> None:
    """Measure, print the medians, write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="kobart")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found = measure(options.model, options.batch, options.steps)
    for what, seconds in found.items():
        print(f"{what:30} median {median(seconds):.3f} s, {min(seconds):.3f} to {max(seconds):.3f}")
    if options.json:
        machine = {"gpu": torch.cuda.get_device_name(), "torch": torch.__version__}
        versions = {**machine, "transformers": transformers.__version__}
        options.json.write_text(json.dumps({"machine": versions, "seconds": found}, indent=1))


if __name__ == "__main__":
    main()
