"""What a request says by itself, and of its workload."""

import pytest

from autobatch.errors import UsageError
from autobatch.job.request import FREE, LONGEST_NAME, Job, as_asked, check
from autobatch.settings import LARGEST_BATCH
from autobatch.workload.spec import Model, Workload


def job(**more):
    return Job("m", 60.0, **more)


def workload(samples):
    return Workload(Model("m", "", "causal"), train_samples=samples, effective_batch=16)


@pytest.mark.parametrize("study", ["x" * (LONGEST_NAME + 1), "가" * LONGEST_NAME, "two\nlines", "half\udc80"])
def test_a_name_that_no_folder_can_have_is_refused(study):
    with pytest.raises(UsageError, match="no name of a study") as caught:
        check(job(study=study))
    assert "--study" in caught.value.do


@pytest.mark.parametrize("name", ["text_column", "summary_column"])
def test_a_column_of_no_data_is_refused(name):
    with pytest.raises(UsageError, match="which is not given"):
        check(job(**{name: "dialogue"}))
    check(job(**{name: "dialogue"}, data="x.jsonl", study="요약 1"))


@pytest.mark.parametrize(("asked", "samples"), [(5_501, 5_500), (10**23, 5_500), (10**23, 0), (None, 10)])
def test_an_effective_batch_above_the_samples_is_refused(asked, samples):
    with pytest.raises(UsageError, match="larger than the") as caught:
        as_asked(workload(samples), job(effective_batch=asked))
    assert str(samples or LARGEST_BATCH) in caught.value.do


def test_an_effective_batch_up_to_the_samples_is_accepted():
    assert as_asked(workload(5_500), job(effective_batch=5_500)).effective_batch == 5_500
    assert as_asked(workload(10), job(effective_batch=FREE)).effective_batch is None
    assert as_asked(workload(0), job()).effective_batch == 16


def test_a_profile_of_a_script_sets_its_effective_batch_alone():
    asked = Job("train.py", 60.0, script=("python", "train.py"), profile="quick")
    changed = as_asked(workload(12_457), asked)
    assert (changed.train_samples, changed.effective_batch) == (12_457, 8)
