"""A probe's s/step and peak against real training runs of the same configuration, and how far two such runs differ.

    python -m benchmarks.fidelity [--configs NAME ...] [--steps 200] [--gpu-memory 24GiB] [--seconds S] [--json FILE]

Each configuration is trained by `examples/train.py`, probed as a search does, and trained again, on random tokens with
the preset's spread of lengths (or on `--data`); with more `--repeats` it is probed between any two. The set is so small
that a run sees all of it, the longest sample, too. A real run has `--steps` after the first 50, in which its memory
still grows with every new length, and which take longer: `whole` has them. The error of s/step, mean against mean, is
held against 6 % or 1.5 times the difference of the real runs, where that is larger; that of the peak against 2 % of the
highest that a real run came to. A run that dies on what the probe called safe is `unsafe`.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from autobatch.export.chosen import Chosen
from autobatch.export.frozen import save
from autobatch.isolation.parent import PreloadedParent
from autobatch.isolation.runner import ENTRY, ProbeRunner
from autobatch.job.space import wishes
from autobatch.machine import fingerprint
from autobatch.machine.gpus import open_device
from autobatch.request import Limits, NullJournal, Plan
from autobatch.settings import ALLOCATOR, EXPANDABLE, Configuration, Scalar
from autobatch.units import parse_bytes
from autobatch.verdict import Kind, Measurements
from autobatch.workload import data, presets
from autobatch.workload.spec import Workload
from benchmarks import forks
from benchmarks.common import Deadline, Record, parser

WORST_ERROR = 0.06
MEDIAN_ERROR = 0.03
PEAK_ERROR = 0.02
REPEAT_FACTOR = 1.5
PROBE_S = 180.0
EPOCH_SHARE = 0.25
"""Samples of the data set, as a share of those that a real run trains on: it meets the longest about four times."""
START_S = 8.0
"""A real run takes about as long to start and to end, its steps apart."""
SETTLING_STEPS = 50
"""Of a real run, not timed: the allocator's segments grow."""
LEAST_S = 20.0
"""With less time left no configuration is begun."""
HEADER = (
    f"{'configuration':30} {'verdict':10} {'probe s':>7} {'probed':>9} {'real':>9} {'whole':>9}"
    f"{'error':>9}{'floor':>9}{'peak':>9}"
)


def _settings(micro_batch: int, accumulation: int, **more: Scalar) -> dict[str, Scalar]:
    batch = {"per_device_train_batch_size": micro_batch, "gradient_accumulation_steps": accumulation}
    allocator = {ALLOCATOR: EXPANDABLE}  # as a search on a card has it
    return {**batch, **allocator, "precision": "bf16", **more}


_LORA = {"method": "lora"}
_QLORA = {"method": "lora", "quantization": "nf4"}
_CHECKPOINTING = {"gradient_checkpointing": True}
_T5, _LLAMA = "t5-base-korean-summarization", "llama-3.2-korean-3b"
CONFIGS: Mapping[str, tuple[str, dict[str, Scalar]]] = {
    "kobart-8x2": ("kobart", _settings(8, 2)),
    "kobart-48": ("kobart", _settings(48, 1)),
    "kobart-48-fp32": ("kobart", _settings(48, 1, precision="fp32")),
    "kobart-16x3-tf32": ("kobart", _settings(16, 3, precision="tf32")),
    "t5-20x1-tf32": (_T5, _settings(20, 1, precision="tf32")),
    "t5-40x1-tf32-checkpointing": (_T5, _settings(40, 1, precision="tf32", **_CHECKPOINTING)),
    "llama-4x1-lora": (_LLAMA, _settings(4, 1, **_LORA)),
    "llama-4x1-nf4": (_LLAMA, _settings(4, 1, **_QLORA)),
    "llama-8x1-nf4": (_LLAMA, _settings(8, 1, **_QLORA)),
    "llama-4x1-nf4-checkpointing": (_LLAMA, _settings(4, 1, **_QLORA, **_CHECKPOINTING)),
    "llama-4x2-nf4-checkpointing": (_LLAMA, _settings(4, 2, **_QLORA, **_CHECKPOINTING)),
    "mt5-16x1-nf4": ("mt5-xlsum", _settings(16, 1, **_QLORA)),
    "qwen3-8x1-nf4-checkpointing": ("qwen3-4b", _settings(8, 1, **_QLORA, **_CHECKPOINTING)),
    "demo-8x2": ("demo", _settings(8, 2, precision="fp32")),
}
"""Model and settings by name."""
DEFAULT = tuple(name for name in CONFIGS if name != "demo-8x2")


@dataclass
class Row:
    """One configuration."""

    config: str
    verdict: str = ""
    probe_s: float = 0.0
    probed_step_s: list[float] = field(default_factory=list)
    probed_rel_error: float | None = None
    probed_peak_bytes: int | None = None
    steps_timed: int | None = None
    real_step_s: list[float] = field(default_factory=list)
    whole_step_s: list[float] = field(default_factory=list)
    """The same with the first steps."""
    real_peak_bytes: list[int] = field(default_factory=list)
    peaks: dict[str, list[int]] = field(default_factory=dict)
    """Of the allocator, bytes: `probed_allocated`, `probed_reserved`, `real_allocated`, `real_reserved`."""
    left_out: int = 0
    """Real runs for which there was no time."""
    note: str = ""
    unsafe: bool = False

    @property
    def step_error(self) -> float | None:
        """Probed over real, less one."""
        return self._error(_mean(self.probed_step_s), _mean(self.real_step_s))

    @property
    def peak_error(self) -> float | None:
        """Probed over the highest of the real runs, less one: the longest micro-batch may come before any gradient."""
        return self._error(self.probed_peak_bytes, max(self.real_peak_bytes, default=None))

    def note_peaks(self, whose: str, figures: Mapping[str, Any]) -> None:
        """Keep the allocator's peaks, where the device has them: they tell what a difference comes from."""
        for kind in ("allocated", "reserved"):
            if (peak := figures.get(f"device_peak_{kind}_bytes")) is not None:
                self.peaks.setdefault(f"{whose}_{kind}", []).append(peak)

    @staticmethod
    def _error(probed: float | None, real: float | None) -> float | None:
        return probed / real - 1 if probed and real else None

    @property
    def floor(self) -> float | None:
        """Difference of the real runs, relative to their mean."""
        real = self.real_step_s
        return (max(real) - min(real)) / statistics.fmean(real) if len(real) > 1 else None

    @property
    def ok(self) -> bool:
        """Whether the probe told the truth, as far as it was checked."""
        allowed = max(WORST_ERROR, REPEAT_FACTOR * (self.floor or 0.0))
        good_step = self.step_error is None or abs(self.step_error) <= allowed
        good_peak = self.peak_error is None or abs(self.peak_error) <= PEAK_ERROR
        return good_step and good_peak and not self.unsafe and not self.note

    def to_dict(self) -> dict[str, Any]:
        """Return the row of the JSON file."""
        return {
            **asdict(self),
            "step_error": self.step_error,
            "peak_error": self.peak_error,
            "floor": self.floor,
            "ok": self.ok,
        }


def workload_of(preset: str, configuration: Configuration, path: Path | None, steps: int) -> Workload:
    """Return the preset with the configuration's effective batch, on a person's data where given."""
    batch = configuration.micro_batch * configuration.accumulation
    size = round(EPOCH_SHARE * steps * batch)
    # what is evaluated changes nothing of training, and to generate takes longer than all else
    workload = replace(presets.load(preset), effective_batch=batch, generation=None)
    if path is not None:
        found = data.describe(path, workload)
        workload, size = replace(workload, data=found.data, lengths=found.lengths), found.data.samples or 1
    return replace(workload, train_samples=size, epochs=(steps + SETTLING_STEPS) * batch / size)


class Comparison:
    """One configuration, trained and probed on one device.

    Args:
        name: in `CONFIGS`.
        options: of the command line.
        parent: probes are forked from it, as those of a search.
        deadline: nothing is begun that would end after it.

    """

    def __init__(self, name: str, options: argparse.Namespace, parent: PreloadedParent, deadline: Deadline) -> None:
        self.row, self._options, self._parent, self._deadline = Row(name), options, parent, deadline
        preset, settings = CONFIGS[name]
        chosen = {**settings, "dataloader_num_workers": options.workers, **wishes(options.set, [], None).fix}
        self._configuration = Configuration(chosen)
        self._workload = workload_of(preset, self._configuration, options.data, options.steps)
        self._limits = Limits(device_bytes=options.gpu_memory)

    def run(self) -> Row:
        """Train, probe and train again; what goes wrong is in the row."""
        repeats, found = self._options.repeats, Measurements()
        with TemporaryDirectory() as folder:
            for repeat in range(repeats):
                if repeat or repeats == 1:
                    found = self._probe(Path(folder, f"probe-{repeat}"))
                    if self.row.verdict != Kind.OK:
                        break
                self._train(found, Path(folder, f"real-{repeat}"))
        self.row.unsafe = self.row.verdict == Kind.OK and "out of memory" in self.row.note.lower()
        return self.row

    def _probe(self, folder: Path) -> Measurements:
        row, device = self.row, self._options.device
        gpu = open_device(int(device.partition(":")[2] or 0)) if device != "cpu" else None
        plan = Plan(self._options.purpose, max(1.0, min(PROBE_S, self._deadline.left_s)))
        with ProbeRunner(
            self._workload, device=device, limits=self._limits, work_dir=folder, gpu=gpu, parent=self._parent
        ) as runner:
            verdict = runner.run(self._configuration, plan, NullJournal())
        found = verdict.measurements
        row.verdict, row.probe_s = str(verdict.kind), verdict.duration_s
        row.probed_step_s += [found.step_s] if found.step_s else []
        row.probed_rel_error, row.steps_timed = found.micro_step_rel_error, found.steps_timed
        row.probed_peak_bytes = max(row.probed_peak_bytes or 0, found.device_peak_used_bytes or 0) or None
        row.note_peaks("probed", found.to_dict())
        if verdict.kind not in (Kind.OK, Kind.CUDA_OOM_TRAIN, Kind.CUDA_OOM_EVAL, Kind.OVER_LIMIT):
            row.note += str(verdict.evidence)[-400:]  # what does not fit is an answer, any other failure is one of ours
        return found

    def _train(self, promised: Measurements, place: Path) -> None:
        row, steps = self.row, self._options.steps + SETTLING_STEPS
        known = next(iter(row.real_step_s[::-1] + row.probed_step_s[::-1]), 0.0)
        if not self._deadline.allows(START_S + steps * known):
            row.left_out += 1
            return
        best, log, figures = (place.with_suffix(kind) for kind in (".yaml", ".log", ".json"))
        machine = fingerprint.read(self._options.device).to_dict()
        save(Chosen("fidelity", None, self._configuration, promised, self._workload, machine, self._limits), best)
        status = forks.train(best, log, self._deadline.left_s, steps=steps, figures=figures)
        if status == 0:
            self._note(json.loads(figures.read_text()))
        else:
            row.note += "timed out" if status is None else forks.tail(log)

    def _note(self, real: dict[str, Any]) -> None:
        times = real["step_times"]
        self.row.whole_step_s.append(statistics.fmean(times))
        self.row.real_step_s.append(statistics.fmean(times[-self._options.steps :]))
        self.row.real_peak_bytes.append(real["device_peak_used_bytes"])
        self.row.note_peaks("real", real)


def _mean(values: Sequence[float]) -> float | None:
    return statistics.fmean(values) if values else None


def line(row: Row) -> str:
    """Return a row of the table."""
    times = map(_mean, (row.probed_step_s, row.real_step_s, row.whole_step_s))
    seconds = " ".join(f"{'-' if value is None else f'{value:.4f}':>9}" for value in times)
    shares = " ".join(
        f"{'-' if value is None else f'{value:+.1%}':>8}" for value in (row.step_error, row.floor, row.peak_error)
    )
    return f"{row.config:30} {row.verdict:10} {row.probe_s:7.1f} {seconds} {shares} {'unsafe ' * row.unsafe}{row.note}"


def summary(rows: list[Row]) -> dict[str, Any]:
    """Return the figures over all configurations."""
    errors = [abs(row.step_error) for row in rows if row.step_error is not None]
    peaks = [abs(row.peak_error) for row in rows if row.peak_error is not None]
    return {
        "compared": len(errors),
        "median_step_error": statistics.median(errors) if errors else None,
        "worst_step_error": max(errors, default=None),
        "worst_peak_error": max(peaks, default=None),
        "unsafe": sum(row.unsafe for row in rows),
        "ok": all(row.ok for row in rows) and (not errors or statistics.median(errors) <= MEDIAN_ERROR),
    }


def command() -> argparse.ArgumentParser:
    """Return the command line."""
    made = parser(__doc__, seconds=1500.0)
    made.add_argument("--configs", nargs="*", default=list(DEFAULT), choices=list(CONFIGS))
    made.add_argument("--steps", type=int, default=200)
    made.add_argument("--repeats", type=int, default=2, help="real runs of each, with probes between")
    made.add_argument(
        "--purpose", choices=("probe", "confirm"), default="confirm", help="what a file promises is confirmed"
    )
    made.add_argument("--workers", type=int, default=2)
    made.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="over each; repeatable")
    made.add_argument("--data", type=Path)
    made.add_argument("--gpu-memory", type=parse_bytes, help="size of the card to emulate")
    return made


def main() -> int:
    """Compare every configuration and print the table."""
    options = command().parse_args()
    deadline, record, rows = Deadline(options.seconds), Record(options.json, "benchmarks.fidelity"), []
    with TemporaryDirectory() as folder:
        parent = PreloadedParent(Path(folder), bare=False, modules=(ENTRY.partition(":")[0],))
        try:
            parent.start()
            forks.import_once()  # beside the parent's own imports
            parent.ensure()
            for row in compared(options, parent, deadline):
                rows.append(row)
                print(line(row), flush=True)
                record.keep(steps=options.steps, **summary(rows), rows=[row.to_dict() for row in rows])
        finally:
            parent.close()
    print(f"\n{HEADER}", *map(line, rows), json.dumps(summary(rows)), sep="\n")
    return 0 if rows and summary(rows)["ok"] else 1


def compared(options: argparse.Namespace, parent: PreloadedParent, deadline: Deadline) -> Iterator[Row]:
    """Yield the row of every configuration for which there is time."""
    for name in options.configs:
        if deadline.allows(LEAST_S):
            yield Comparison(name, options, parent, deadline).run()
        else:
            print(f"{name:30} left out: the time is up")


if __name__ == "__main__":
    raise SystemExit(main())
