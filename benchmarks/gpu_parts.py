"""The parts of `benchmarks.gpu`: their commands as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

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


def _live(case: str, *words: str) -> tuple[str, ...]:
    return _module("live", "--case", case, "--keep", "{folder}", *words, *_ALL)


def _fidelity(*configs: str) -> tuple[str, ...]:
    return _module("fidelity", "--configs", *configs, *_ALL)


_LLAMA, _KOBART, _T5 = "llama-3.2-korean-3b", "kobart", "t5-base-korean-summarization"
_STARTUP = ("--model", _LLAMA, "--method", "lora")
PARTS: Mapping[str, Part] = {
    "live-llama": Part(_live(_LLAMA), wanted_s=400, least_s=250, files=3),
    "live-llama24": Part(_live(f"{_LLAMA}:24GiB"), wanted_s=540, least_s=300, files=3),
    "live-kobart": Part(_live(_KOBART), wanted_s=200, least_s=150, files=3),
    "live-kobart24": Part(_live(f"{_KOBART}:24GiB"), wanted_s=180, least_s=150, files=3),
    "live-t5": Part(_live(_T5), wanted_s=220, least_s=150, files=3),
    "live-t5-24": Part(_live(f"{_T5}:24GiB"), wanted_s=220, least_s=150, files=3),
    "startup": Part(
        _module("startup", *_STARTUP, "--quantization", "none", "--cold", "2", *_ALL), wanted_s=280, least_s=150
    ),
    "startup-nf4": Part(
        _module("startup", *_STARTUP, "--quantization", "nf4", "--forks", "10", "--cold", "2", *_ALL),
        wanted_s=130,
        least_s=90,
    ),
    "fidelity-small": Part(_fidelity("t5-20x1-tf32", "kobart-48-fp32", "mt5-16x1-nf4"), wanted_s=630, least_s=90),
    "fidelity-large": Part(_fidelity("llama-8x1-nf4", "qwen3-8x1-nf4-checkpointing"), wanted_s=650, least_s=90),
    "fidelity-launches": Part(_fidelity("kobart-48", "kobart-8x2"), wanted_s=240, least_s=90),
    "fidelity-adapters": Part(_fidelity("llama-4x1-lora", "llama-4x1-nf4"), wanted_s=430, least_s=90),
    "fidelity24": Part(
        _fidelity("kobart-16x3-tf32", "t5-40x1-tf32-checkpointing", "--gpu-memory", "24GiB"), wanted_s=470, least_s=90
    ),
    "fidelity24-large": Part(
        _fidelity("llama-4x1-nf4-checkpointing", "--gpu-memory", "24GiB"), wanted_s=350, least_s=90
    ),
    "probe_time": Part(
        _module("probe_time", "--model", "llama-3.2-korean-3b", "--micro-batch", "4", *_ALL), wanted_s=100, least_s=60
    ),
    "long_sample": Part(_module("long_sample", *_ALL), wanted_s=150, least_s=110),
    "workers": Part(_module("workers", "--workers", "0,2,4,8,12", *_ALL), wanted_s=150, least_s=110),
    "classification": Part(_module("faults.classification", *_ALL), wanted_s=1300, least_s=60),
    "intruder": Part(_module("intruder", *_ALL), wanted_s=400, least_s=280),
    "scripts": Part(_module("scripts", "--cases", "trl", "--gpu-memory", "24GiB", *_ALL), wanted_s=450, least_s=350),
}
