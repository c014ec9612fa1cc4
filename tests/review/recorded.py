"""A database such as a search leaves behind, made with Optuna and with nothing of the search's own code."""

from __future__ import annotations

import json
import sqlite3
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import CategoricalDistribution
from optuna.study import StudyDirection  # noqa: F401 - the tests take it from here
from optuna.trial import TrialState, create_trial
from sqlalchemy.pool import QueuePool

from autobatch import attributes
from autobatch.request import Limits
from autobatch.settings import Configuration
from autobatch.units import GIB
from autobatch.verdict import HINTS, Kind, Measurements, Verdict
from autobatch.workload.spec import Model, Workload

STUDY = "llama-3.2-korean-3b on 24 GiB"
WORKLOAD = Workload(
    Model("llama-3.2-korean-3b", "Bllossom/llama-3.2-Korean-Bllossom-3B", "causal"),
    method="lora",
    effective_batch=16,
    train_samples=12_457,
    epochs=1.0,
)
LIMITS = Limits(24 * GIB, 0.85, 60 * GIB, 0.80)
CHOICES = {
    "per_device_train_batch_size": (1, 2, 4, 8, 16),
    "precision": ("bf16", "fp32"),
    "gradient_checkpointing": (False, True),
    "dataloader_num_workers": (0, 2, 4),
    "per_device_eval_batch_size": (8, 16),
}
START = datetime(2026, 3, 1, 9, 30)  # noqa: DTZ001 - Optuna keeps local time without a zone
SPACE = {"fixed": {"method": "lora", "quantization": "none"}, "effective_batch": 16, "devices": 1}

Run = tuple[int, str, bool, int, str, Kind, float | None, float | None]
# micro-batch, precision, checkpointing, workers, stage, kind, micro-step s, peak GiB
RUNS: tuple[Run, ...] = (
    (1, "bf16", False, 2, "search", Kind.OK, 0.21, 14.1),
    (4, "bf16", False, 2, "search", Kind.CUDA_OOM_TRAIN, None, None),
    (2, "bf16", False, 2, "search", Kind.OVER_LIMIT, 0.22, 20.5),
    (4, "bf16", True, 2, "search", Kind.OK, 0.36, 12.4),
    (8, "bf16", True, 2, "search", Kind.OK, 0.66, 18.0),
    (16, "bf16", True, 2, "search", Kind.CUDA_OOM_TRAIN, None, None),
    (2, "fp32", True, 2, "search", Kind.HOPELESS, 0.9, 16.0),
    (8, "bf16", True, 0, "loader", Kind.OK, 0.80, 18.0),
    (8, "bf16", True, 4, "loader", Kind.WATCHDOG_MEMORY, None, None),
    (8, "bf16", True, 2, "confirm", Kind.OK, 0.655, 18.1),
)


def verdict(kind: Kind, micro_batch: int, workers: int, micro_step_s: float | None, peak: float | None) -> Verdict:
    if micro_step_s is None:
        return Verdict(kind, evidence={"log_tail": "RuntimeError: <b>out of memory</b>"}, duration_s=4.0)
    step_s = 16 // micro_batch * micro_step_s + 0.01
    measured = Measurements(
        micro_step_s=micro_step_s,
        micro_step_rel_error=0.015,
        step_s=step_s,
        samples_per_s=16 / step_s,
        tokens_per_s=16 / step_s * 700,
        device_peak_used_bytes=int((peak or 0) * GIB),
        host_peak_bytes=int((4 + workers) * GIB),
        loader_wait_fraction=0.01 if workers else 0.18,
        loader_worker_bytes=GIB,
    )
    return Verdict(kind, measurements=measured, duration_s=8.0)


def answer() -> dict[str, Any]:
    def choice(number: int) -> dict[str, Any]:
        micro, precision, checkpointing, workers, stage, kind, seconds, peak = RUNS[number]
        configuration = Configuration(
            per_device_train_batch_size=micro,
            gradient_accumulation_steps=16 // micro,
            method="lora",
            precision=precision,
            gradient_checkpointing=checkpointing,
            dataloader_num_workers=workers,
        )
        return {
            "configuration": configuration.to_dict(),
            "measurements": verdict(kind, micro, workers, seconds, peak).measurements.to_dict(),
            "trial": number,
            "confirmed": stage == "confirm",
            "measured_samples_per_s": [16 / 1.33, 16 / 1.32] if stage == "confirm" else [],
        }

    return {
        "study": STUDY,
        "chosen": choice(9),
        "runner_up": choice(3),
        "stopped": "the best remaining gain is expected to be 0.4 %, below 1 %",
        "trials": len(RUNS),
        "probes": len(RUNS),
        "failures": {"cuda_oom_train": 2, "over_limit": 1, "watchdog_memory": 1, "hopeless": 1},
        "remaining_gain": 0.004,
        "probe_seconds": 68.0,
        "elapsed_s": 95.0,
        "interrupted": False,
        "advice": None,
        "workload": WORKLOAD.to_dict(),
        "limits": {"device_bytes": 24 * GIB, "device_fraction": 0.85, "host_bytes": 60 * GIB, "host_fraction": 0.8},
    }


def storage(path: Path) -> optuna.storages.RDBStorage:
    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(path, check_same_thread=False)
        connection.execute("PRAGMA synchronous = OFF")  # a test's database need not survive a power loss
        return connection

    return optuna.storages.RDBStorage("sqlite://", engine_kwargs={"creator": connect, "poolclass": QueuePool})


def make(path: Path, name: str = STUDY, *, answered: bool = True) -> optuna.Study:
    """Make the database with one study of `RUNS`."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(storage=storage(path), study_name=name, direction="maximize", load_if_exists=True)
    limits = {"device_bytes": 24 * GIB, "device_fraction": 0.85, "host_bytes": 60 * GIB, "host_fraction": 0.8}
    noted = {attributes.WORKLOAD: WORKLOAD.to_dict(), attributes.SPACE: SPACE, attributes.LIMITS: limits}
    noted |= {attributes.MACHINE: {"gpu": "NVIDIA GeForce RTX 3090", "driver": "580.1", "cores": 48}}
    noted |= {attributes.ANSWER: answer()} if answered else {}
    for key, value in noted.items():
        study.set_user_attr(key, json.dumps(value, ensure_ascii=False))
    study.add_trials([_trial(number, run) for number, run in enumerate(RUNS)])
    return study


def _trial(number: int, run: Run) -> optuna.trial.FrozenTrial:
    micro, precision, checkpointing, workers, stage, kind, micro_step_s, peak = run
    found = verdict(kind, micro, workers, micro_step_s, peak)
    feasible = kind in (Kind.OK, Kind.HOPELESS)
    values = (micro, precision, checkpointing, workers, 8)
    noted = {
        attributes.VERDICT: str(kind),
        attributes.HINT: HINTS[kind],
        attributes.STAGE: stage,
        attributes.WHY: "most expected gain for its time",
        attributes.STEP_S: found.measurements.step_s,
        attributes.SAMPLES_PER_S: found.measurements.samples_per_s,
        attributes.DEVICE_PEAK_GIB: peak,
        attributes.HOST_PEAK_GIB: (found.measurements.host_peak_bytes or 0) / GIB or None,
        attributes.LOADER_WAIT_PERCENT: 100 * w if (w := found.measurements.loader_wait_fraction) is not None else None,
        attributes.PROBE_S: found.duration_s,
        attributes.PREDICTED_SAMPLES_PER_S: 1.06 * (found.measurements.samples_per_s or 9.0),
        attributes.PREDICTED_PEAK_GIB: 0.97 * (peak or 25.0),
        attributes.CHANCE_TO_FIT: 0.93,
    }
    trial = create_trial(
        state=TrialState.COMPLETE,
        value=(found.measurements.samples_per_s or 0.0) if feasible else 0.0,
        params=dict(zip(CHOICES, values, strict=True)),
        distributions={name: CategoricalDistribution(choices) for name, choices in CHOICES.items()},
        user_attrs={name: value for name, value in noted.items() if value is not None},
        constraints={attributes.CONSTRAINT: 0.0 if feasible else 1.0},
    )
    trial.datetime_start = START + timedelta(seconds=12 * number)
    trial.datetime_complete = trial.datetime_start + timedelta(seconds=found.duration_s)
    return trial
