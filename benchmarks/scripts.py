"""What a search over a person's own script promises, against that script run again on what was exported.

    python -m benchmarks.scripts [--device cpu|cuda:0] [--cases NAME ...] [--gpu-memory 24GiB] [--json FILE]

Each script is searched as it is by `autobatch search ... -- python SCRIPT run.yaml`, the answer is frozen and merged
into `run.yaml` by `autobatch export --into`, and the script is run again on that file. Its steps are timed by
`autobatch.Callback` and held against the promise: s/step within 5 %.
"""

from __future__ import annotations

import argparse
import json
import runpy
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
SAME = 0.05
BIG = "llama-3.2-korean-3b"
Make = Callable[[Path, str], dict[str, Any]]


@dataclass(frozen=True)
class Case:
    """A script with what it is given."""

    script: str
    target: str
    """Format of the export."""
    make: Make
    """Makes what it needs in a folder, for a device, and returns the content of its file."""
    options: tuple[str, ...] = ()
    """Options of the search."""


_COMMON = {"output_dir": "out", "report_to": "none", "num_train_epochs": 3.0, "logging_steps": 1000}


def summariser(folder: Path, _: str) -> dict[str, Any]:
    """Return the file of a small summariser that makes its own model."""
    batch = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 4}
    return {"data": str(folder / "data.jsonl"), **batch, **_COMMON, "save_strategy": "no"}


def published(folder: Path, device: str) -> dict[str, Any]:
    """Return the file of a summariser with the arguments of transformers' own example, and make its model."""
    save_bart(folder / "model", folder / "data.jsonl", width=64 if device == "cpu" else 768)
    files = {"train_file": str(folder / "data.jsonl"), "validation_file": str(folder / "data.jsonl")}
    lengths = {"max_source_length": 192, "max_target_length": 48, "max_train_samples": 1000, "max_eval_samples": 40}
    batch = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 4, "predict_with_generate": True}
    model = {"model_name_or_path": str(folder / "model"), "do_train": True, "do_eval": True}
    return {**model, **files, **lengths, **batch, **_COMMON}


def sft(folder: Path, device: str) -> dict[str, Any]:
    """Return the file of a TRL training; on a card that of a 3B model under QLoRA, with random weights."""
    batch = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 4}
    content = {"data": str(folder / "data.jsonl"), **batch, **_COMMON, "save_strategy": "no", "max_length": 256}
    if device == "cpu":
        return content | {"bf16": False}
    save_preset(folder / "model", folder / "data.jsonl", device)
    return content | {"model": str(folder / "model"), "qlora": True, "max_length": 1024}


CASES = {
    "seq2seq": Case("user_seq2seq.py", "hf", summariser),
    "summarization": Case("user_summarization.py", "hf", published, ("--fix", "per_device_eval_batch_size=8")),
    "trl": Case("user_trl_sft.py", "trl", sft),
}
QUICK = {
    "cpu": ("--fix", "precision=fp32", "--fix", "gradient_checkpointing=false", "--fix", "dataloader_num_workers=0"),
    "cuda": ("--fix", "precision=bf16"),
}


@dataclass
class Row:
    """One script: promised and real."""

    case: str
    configuration: dict[str, Any] = field(default_factory=dict)
    promised_step_s: float | None = None
    promised_rel_error: float | None = None
    promised_peak_bytes: int | None = None
    real_step_s: float | None = None
    real_peak_bytes: int | None = None
    steps: int = 0
    search_s: float = 0.0
    note: str = ""

    @property
    def error(self) -> float | None:
        """Promised over real, less one."""
        return self.promised_step_s / self.real_step_s - 1 if self.promised_step_s and self.real_step_s else None

    def to_dict(self) -> dict[str, Any]:
        """Return the row of the JSON file."""
        return {**vars(self), "error": self.error, "ok": self.error is not None and abs(self.error) <= SAME}


def texts(data: Path) -> list[str]:
    """Return all texts of a set."""
    return [text for line in data.read_text().splitlines() for text in json.loads(line).values()]


def save_tokenizer(folder: Path, data: Path) -> int:
    """Train a tokenizer as one of the scripts does, save it, and return its size."""
    made = runpy.run_path(str(EXAMPLES / "user_seq2seq.py"))["make_tokenizer"](texts(data))
    made.save_pretrained(folder)
    return len(made)


def save_bart(folder: Path, data: Path, width: int) -> None:
    """Save an encoder-decoder with random weights and a tokenizer."""
    size = save_tokenizer(folder, data)
    model = runpy.run_path(str(EXAMPLES / "user_seq2seq.py"))["make_model"](width, size)
    model.config.max_length = None
    model.save_pretrained(folder)


def save_preset(folder: Path, data: Path, device: str) -> None:
    """Save a preset's model with random weights in bf16, and a tokenizer that its vocabulary holds."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from autobatch.workload import presets

    save_tokenizer(folder, data)
    shape = dict(presets.load(BIG).model.config)
    with torch.device(device):
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**shape), dtype=torch.bfloat16)
    model.save_pretrained(folder)


def measure(name: str, options: argparse.Namespace, folder: Path) -> Row:
    """Search a script, freeze and merge the answer, run the script on it, and compare."""
    case, row = CASES[name], Row(name)
    made = json.dumps(case.make(folder, options.device)) if options.device == "cpu" else apart(name, options, folder)
    content = folder / "run.yaml"
    content.write_text("".join(f"{key}: {json.dumps(value)}\n" for key, value in json.loads(made).items()))
    words = ["python", str(EXAMPLES / case.script), *(["--config"] if name == "trl" else []), "run.yaml"]
    began = time.monotonic()
    kind = options.device.partition(":")[0]
    memory = ["--gpu-memory", options.gpu_memory] if options.gpu_memory else []
    search = ["search", "--budget", options.budget, "--device", options.device, "--quiet", "--json", *memory]
    fixed = [*QUICK[kind], *case.options]
    answer = json.loads(command([*search, *fixed, "--", *words], folder).stdout)
    row.search_s = time.monotonic() - began
    command(["export", "best.yaml", "--into", "run.yaml", "--format", case.target], folder)
    chosen = answer["chosen"]
    figures = chosen["measurements"]
    row.configuration = chosen["configuration"]
    row.promised_step_s, row.promised_rel_error = figures["step_s"], figures.get("micro_step_rel_error")
    row.promised_peak_bytes = figures.get("device_peak_reserved_bytes")
    with content.open("a") as out:
        out.write(f"max_steps: {options.steps}\n")
    return run_again(row, words[1:], folder)


def apart(name: str, options: argparse.Namespace, folder: Path) -> str:
    """Make what a case needs in a process of its own, so that this one holds nothing of the card."""
    again = [sys.executable, "-m", "benchmarks.scripts", "--make", name, str(folder), "--device", options.device]
    return subprocess.run(again, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1]


def command(words: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run autobatch in a folder; what it says of a failure ends the benchmark."""
    run = [sys.executable, "-m", "autobatch", *words]
    return subprocess.run(run, cwd=folder, check=True, stdout=subprocess.PIPE, text=True)


def run_again(row: Row, words: list[str], folder: Path) -> Row:
    """Run the script on the merged file, timed."""
    again = [sys.executable, str(Path(__file__).resolve()), "--timed", *words]
    done = subprocess.run(again, cwd=folder, check=False, capture_output=True, text=True)
    if done.returncode:
        row.note = done.stderr[-2000:]
        return row
    found = json.loads((folder / "timed.json").read_text())
    row.real_step_s, row.steps = statistics.fmean(found["step_times"]), len(found["step_times"])
    row.real_peak_bytes = found["peak_bytes"]
    return row


def timed(words: list[str]) -> None:
    """Run a script with the callback of its frozen file beside its own, and write down its step times."""
    sys.argv = words
    sys.path.insert(0, str(EXAMPLES.parent))
    from autobatch import Callback, load

    frozen = load("best.yaml")
    frozen.set_environment()
    import torch
    from transformers import Trainer

    callback, construct = Callback(frozen), Trainer.__init__

    def init(self: Any, *args: Any, **options: Any) -> None:  # noqa: ANN401 - as Trainer's
        construct(self, *args, **options)
        self.add_callback(callback)

    Trainer.__init__ = init
    sys.path[0] = str(Path(words[0]).parent)
    runpy.run_path(words[0], run_name="__main__")
    peak = torch.cuda.max_memory_reserved() if torch.cuda.is_available() else None
    Path("timed.json").write_text(json.dumps({"step_times": callback.step_times, "peak_bytes": peak}))


def report(rows: list[Row]) -> str:
    """Return the table."""
    lines = [f"{'script':<14}{'micro x acc':>12}{'promised':>11}{'real':>10}{'error':>8}{'steps':>7}{'search':>9}"]
    for row in rows:
        values = row.configuration
        batch = f"{values.get('per_device_train_batch_size')} x {values.get('gradient_accumulation_steps')}"
        times = f"{row.promised_step_s or 0:>11.4f}{row.real_step_s or 0:>10.4f}"
        error = "-" if row.error is None else f"{row.error:+.1%}"
        lines.append(f"{row.case:<14}{batch:>12}{times}{error:>8}{row.steps:>7}{row.search_s:>8.0f}s {row.note}")
    return "\n".join(lines)


def options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--cases", nargs="+", default=list(CASES), choices=list(CASES))
    parser.add_argument("--gpu-memory")
    parser.add_argument("--budget", default="90s", help="of each search")
    parser.add_argument("--steps", type=int, default=100, help="of each run after it")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--make", nargs=2, metavar=("CASE", "FOLDER"), help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    """Measure every case, print the table, and write it as JSON where asked."""
    chosen = options()
    if chosen.make:
        print(json.dumps(CASES[chosen.make[0]].make(Path(chosen.make[1]), chosen.device)))
        return
    rows = []
    for name in chosen.cases:
        with TemporaryDirectory() as scratch:
            folder = Path(scratch)
            maker = [sys.executable, str(EXAMPLES / "stdlib_dataset.py"), str(folder / "data.jsonl")]
            subprocess.run([*maker, "--limit", "2000"], check=True, stdout=subprocess.DEVNULL)
            rows.append(measure(name, chosen, folder))
        print(report(rows[-1:]), flush=True)
        if chosen.json:
            chosen.json.write_text(json.dumps([row.to_dict() for row in rows], indent=2), encoding="utf-8")
    print(report(rows))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--timed"]:
        timed(sys.argv[2:])
    else:
        main()
