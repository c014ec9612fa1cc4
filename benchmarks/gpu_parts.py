"""The parts of `benchmarks.gpu`: their commands as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

LIVE_CASES = (
    "llama-3.2-korean-3b:24GiB",
    "kobart:24GiB",
    "llama-3.2-korean-3b",
    "kobart",
    "t5-base-korean-summarization",
)
_ALL = ("--seconds", "{seconds}", "--json", "{json}")


@dataclass(frozen=True)
class Part:
    """One benchmark of a run.

    Attributes:
        words: arguments of the interpreter; `{seconds}`, `{json}` and `{folder}` are filled in.
        wanted_s: seconds that it takes on an H100 where they are not short; the share of the run that it gets.
        least_s: with less it is left out.
        files: that it writes at most, its text among them.

    """

    words: tuple[str, ...]
    wanted_s: float
    least_s: float
    files: int = 2

    def command(self, **values: str) -> list[str]:
        """Return the words, filled in."""
        return [word.format(**values) for word in self.words]


def _module(name: str, *words: str) -> tuple[str, ...]:
    return ("-m", f"benchmarks.{name}", *words)


PARTS: Mapping[str, Part] = {
    "live": Part(
        _module("live", *(word for case in LIVE_CASES for word in ("--case", case)), "--keep", "{folder}", *_ALL),
        wanted_s=540,
        least_s=200,
        files=2 + len(LIVE_CASES),
    ),
    "grid": Part(
        _module(
            "live",
            *("--case", "kobart", "--grid", "--keep", "{folder}"),
            "--option=--search=precision=bf16,tf32",
            "--option=--search=per_device_train_batch_size=4,8,12,16,24,48",
            "--option=--fix=dataloader_num_workers=4",
            "--option=--fix=per_device_eval_batch_size=8",
            *_ALL,
        ),
        wanted_s=280,
        least_s=150,
        files=4,
    ),
    "startup": Part(_module("startup", "--forks", "50", "--cold", "3", *_ALL), wanted_s=140, least_s=75),
    "fidelity": Part(
        _module(
            "fidelity",
            *("--configs", "kobart-48", "t5-20x1-tf32", "llama-4x1-lora", "mt5-8x1-nf4", "kobart-8x2", "llama-8x1-nf4"),
            *_ALL,
        ),
        wanted_s=560,
        least_s=90,
    ),
    "fidelity24": Part(
        _module(
            "fidelity",
            *("--configs", "kobart-16x3-tf32", "t5-40x1-tf32-checkpointing", "llama-4x1-nf4-checkpointing"),
            *("--gpu-memory", "24GiB"),
            *_ALL,
        ),
        wanted_s=560,
        least_s=90,
    ),
    "probe_time": Part(
        _module("probe_time", "--model", "llama-3.2-korean-3b", "--micro-batch", "4", *_ALL), wanted_s=100, least_s=60
    ),
    "long_sample": Part(_module("long_sample", *_ALL), wanted_s=150, least_s=110),
    "workers": Part(_module("workers", "--workers", "0,2,4,8,12", *_ALL), wanted_s=150, least_s=110),
    "classification": Part(_module("faults.classification", "--count", "3", *_ALL), wanted_s=210, least_s=60),
    "intruder": Part(_module("intruder", *_ALL), wanted_s=400, least_s=280),
    "scripts": Part(_module("scripts", "--cases", "trl", "--steps", "40", *_ALL), wanted_s=260, least_s=200),
}
