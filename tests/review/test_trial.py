import json

import pytest
import recorded

from autobatch.review.trial import show
from autobatch.settings import Configuration
from autobatch.store.ledger import Ledger
from autobatch.verdict import Kind, Verdict

OOM = Verdict(
    Kind.CUDA_OOM_TRAIN,
    evidence={
        "exception": {
            "type": "OutOfMemoryError",
            "message": "tried 2 GiB",
            "traceback": "Traceback:\n  line 1\n  line 2",
        },
        "log": "\n".join(f"log line {number}" for number in range(50)) + "\n\x1b[31mred",
        "host_limit_bytes": 2**31,
    },
)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "trials.db"
    (tmp_path / "probe").mkdir()
    (tmp_path / "probe" / "log.txt").write_text("loaded the model\n")
    with Ledger.open(path) as ledger:
        recorded.make(path)
        failed = ledger.begin(recorded.STUDY, 1, Configuration(), "probe", "search")
        failed.started({"pid": 1})
        failed.sample({"device_bytes": 20 * 2**30, "host_bytes": 2**30})
        failed.intent("above the limit")
        failed.finish(OOM)
        ran = ledger.begin(recorded.STUDY, 0, Configuration(), "probe", "search")
        ran.started({"folder": str(tmp_path / "probe")})
        ran.finish(Verdict(Kind.OK))
    return path


def test_a_failed_trial_is_told_whole(path, capsys):
    show(path, None, 1, as_json=False, log_lines=3)
    told = capsys.readouterr().out
    for expected in (
        "trial 1 of llama-3.2-korean-3b on 24 GiB: cuda_oom_train",
        "Training does not fit on the card",
        "most expected gain for its time",
        "chance to fit, as predicted: 93 %",
        "per_device_train_batch_size: 4",
        "exception: OutOfMemoryError: tried 2 GiB",
        "we ended it: above the limit",
        "most memory seen on the card: 20.00 GiB",
        "host_limit_bytes: 2.00 GiB",
        "  line 2",
        "log line 49",
    ):
        assert expected in told
    assert "log line 10" not in told
    assert "\x1b" not in told


def test_predicted_stands_beside_measured(path, capsys):
    show(path, None, 0, as_json=False, log_lines=20)
    told = capsys.readouterr().out
    assert "throughput (samples/s): 4.75 (predicted 5.03, +6 %)" in told
    assert "peak on the card (GiB): 14.1 (predicted 13.7, -3 %)" in told
    assert "loaded the model" in told


def test_json_has_the_evidence_and_the_journal(path, capsys):
    show(path, recorded.STUDY, 1, as_json=True, log_lines=20)
    told = json.loads(capsys.readouterr().out)
    (probe,) = told["probes"]
    assert probe["verdict"]["evidence"]["exception"]["type"] == "OutOfMemoryError"
    assert [event["event"] for event in probe["events"]] == ["started", "sample", "intent"]
    assert told["settings"]["per_device_train_batch_size"] == 4


def test_a_trial_without_a_ledger_row_is_shown_as_far_as_it_goes(path, capsys):
    show(path, None, 5, as_json=False, log_lines=20)
    told = capsys.readouterr().out
    assert "cuda_oom_train" in told
    assert "evidence" not in told
