import csv
import json
import sys

import pytest

from benchmarks import plan

COLUMNS = (
    *("model", "method", "precision", "gradient_checkpointing", "optim", "source_length", "target_length"),
    *("trainable_parameters", "per_device_train_batch_size", "status", "peak_reserved_bytes", "device_used_bytes"),
)
# measured on an H100
ROWS = [
    ("kobart", "full", "bf16", "false", "adamw_torch_fused", 512, 128, 123859968, 16, "ok", 5255462912, 6569500672),
    ("kobart", "full", "tf32", "false", "adamw_torch_fused", 512, 128, 123859968, 16, "ok", 6147000000, 7442000000),
    ("kobart", "full", "bf16", "false", "adamw_torch_fused", 512, 128, 123859968, 999, "oom", "", ""),
]


@pytest.fixture
def surfaces(tmp_path):
    with (tmp_path / "h100-kobart.csv").open("w", newline="") as file:
        csv.writer(file).writerows([COLUMNS, *ROWS])
    with (tmp_path / "h100-nothing-known.csv").open("w", newline="") as file:
        csv.writer(file).writerows([COLUMNS, ("nothing-known", *ROWS[0][1:])])
    return tmp_path


def test_every_ok_row_is_judged_and_written(surfaces, tmp_path, monkeypatch, capsys):
    out = tmp_path / "plan.json"
    monkeypatch.setattr(sys, "argv", ["plan", "--surfaces", str(surfaces), "--json", str(out)])
    plan.main()
    printed = capsys.readouterr().out
    assert "kobart" in printed
    assert "nothing-known" in printed  # said, not predicted
    rows = json.loads(out.read_text())["rows"]
    assert len(rows) == 2
    assert set(rows[0]) == {
        "model", "method", "precision", "gradient_checkpointing", "optim", "per_device_train_batch_size",
        "predicted_bytes", "measured_bytes",
    }  # fmt: skip
    assert rows[0]["gradient_checkpointing"] is False
    assert all(row["predicted_bytes"] == pytest.approx(row["measured_bytes"], rel=0.04) for row in rows)


def test_a_false_fit_is_said_to_fit_and_does_not():
    judged = plan.Judged({}, 0, 9 * plan.GIB, 1, 11 * plan.GIB)
    assert judged.false_fit(10)
    assert not judged.false_fit(16)
    assert not judged.false_fit(8)


def test_a_head_is_tied_where_the_trained_parameters_say_so():
    rows = [{"method": "full", "trainable_parameters": "236904192"}]
    tied = plan.recorded_workload("t5-base-korean-summarization", rows)
    assert plan.shapes.read(tied.model).parameters == 236_904_192
