from autobatch.review.picture import Best, Picture, Scene, verdict_line
from autobatch.settings import Configuration
from autobatch.verdict import Kind, Measurements, Verdict


def test_an_evaluation_is_told_by_its_own_speed():
    found = Verdict(Kind.OK, Measurements(eval_samples_per_s=40.0), duration_s=3.0)
    line = verdict_line(5, Configuration(per_device_eval_batch_size=32), found)
    assert "eval batch 32, 40" in line
    assert " 0 samples/s" not in line


def test_the_best_of_a_study_that_is_gone_on_with_is_known_from_the_beginning():
    picture = Picture()
    known = Best(3, Configuration(per_device_train_batch_size=8), 27.4)
    picture.begin(Scene(best=known))
    assert picture.best_line.startswith("27.4 samples/s, trial 3: micro-batch 8")
    slower = Verdict(Kind.OK, Measurements(samples_per_s=22.8))
    assert "best so far" not in picture.trial_finished(8, Configuration(), slower)
    assert picture.best == known
    faster = Verdict(Kind.OK, Measurements(samples_per_s=30.0))
    assert picture.trial_finished(9, Configuration(), faster).endswith("(best so far)")


def test_a_training_is_told_by_its_speed():
    line = verdict_line(5, Configuration(), Verdict(Kind.OK, Measurements(samples_per_s=40.0, eval_samples_per_s=7.0)))
    assert ": 40" in line
    assert "evaluation" not in line
