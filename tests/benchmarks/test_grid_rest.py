"""The rest of a grid on a larger card: what it asks of the search."""

import json

from autobatch.job.request import Job
from benchmarks import grid_rest
from benchmarks.grid_rest import rest_of, shares_of, taken_over

FAST = {"stage": "search", "verdict": "ok", "samples_per_s": 9.0, "settings": {"per_device_train_batch_size": 4}}
SLOW = {"stage": "search", "verdict": "ok", "samples_per_s": 3.0, "settings": {"per_device_train_batch_size": 1}}
CUT = {"stage": "search", "verdict": "hopeless", "samples_per_s": 1.0, "settings": {"per_device_train_batch_size": 2}}
OVER = {"stage": "search", "verdict": "cuda_oom_train", "settings": {"per_device_train_batch_size": 8}}
NEAR = {"stage": "search", "verdict": "unsafe_memory", "settings": {"per_device_train_batch_size": 16}}
AFTER = {"stage": "confirm", "verdict": "ok", "samples_per_s": 10.0, "settings": {"per_device_train_batch_size": 3}}


def test_a_larger_card_is_asked_for_the_fastest_and_what_did_not_fit():
    assert rest_of([AFTER, OVER, SLOW, FAST, CUT, NEAR]) == [{"per_device_train_batch_size": n} for n in (4, 8, 16)]


def test_every_share_of_a_rest_begins_with_the_fastest():
    fast, *others = ({"per_device_train_batch_size": n} for n in (4, 8, 16, 32))
    assert shares_of([fast, *others], 2) == [[fast, others[0], others[2]], [fast, others[1]]]
    assert shares_of([fast, *others], 1) == [[fast, *others]]


def test_what_ran_is_taken_over():
    assert taken_over([AFTER, OVER, SLOW, FAST, CUT]) == [SLOW, FAST, CUT]


def test_the_search_is_told_what_alone_to_try(tmp_path, monkeypatch, capsys):
    def run(job, _, *, candidates):
        return {"model": job.model, "sampler": job.sampler, "batches": [one.micro_batch for one in candidates]}

    asked = tmp_path / "asked.json"
    job = Job("kobart", 60.0, sampler="grid").to_dict()
    asked.write_text(json.dumps({"job": job, "settings": rest_of([FAST, OVER])}))
    monkeypatch.setattr(grid_rest, "run", run)
    monkeypatch.setattr("sys.argv", ["grid_rest", str(asked)])
    assert grid_rest.main() == 0
    assert json.loads(capsys.readouterr().out) == {"model": "kobart", "sampler": "grid", "batches": [4, 8]}
