from autobatch.review.picture import verdict_line
from autobatch.settings import Configuration
from autobatch.verdict import Kind, Measurements, Verdict


def test_an_evaluation_is_told_by_its_own_speed():
    found = Verdict(Kind.OK, Measurements(eval_samples_per_s=40.0), duration_s=3.0)
    line = verdict_line(5, Configuration(per_device_eval_batch_size=32), found)
    assert "eval batch 32, 40" in line
    assert " 0 samples/s" not in line


def test_a_training_is_told_by_its_speed():
    line = verdict_line(5, Configuration(), Verdict(Kind.OK, Measurements(samples_per_s=40.0, eval_samples_per_s=7.0)))
    assert ": 40" in line
    assert "evaluation" not in line
