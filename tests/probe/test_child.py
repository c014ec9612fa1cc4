"""A probe from request to outcome, on tiny models and the CPU."""

import json
import math
import time

import pytest
import torch

from autobatch.probe import child, conductor, trainer
from autobatch.probe.device import HostMeter
from autobatch.probe.text import TextSamples
from autobatch.request import Limits, Plan
from autobatch.verdict import Measurements
from autobatch.workload.spec import Data, Generation, Lengths

ARCHITECTURES = ["bart", "t5", "mt5", "llama", "qwen3", "gpt_neox"]


def short(**changes):
    return Plan(**{"max_seconds": 8.0, "precision_target": 10.0, **changes})


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_it_trains_every_architecture(name, workload, probe):
    outcome = probe(workload(name), short(), gradient_accumulation_steps=2, per_device_train_batch_size=2)

    assert outcome["status"] == "ok", outcome["error"]["traceback"]
    found = Measurements.from_dict(outcome["measurements"])
    assert outcome["phase"] == "worst_case"  # the longest once more, after typical steps
    assert found.step_s == pytest.approx(
        (2 * found.micro_step_s + found.optimizer_step_s) / (1 - found.loader_wait_fraction)
    )
    assert found.samples_per_s == pytest.approx(4 / found.step_s)
    assert found.steps_timed >= 2  # of two micro-steps each, half of the first left out
    assert 0 < found.loss < 2 * math.log(128)
    assert found.train_device_peak_used_bytes > 0
    assert found.longest_source_tokens == 48
    assert {"context", "build", "trainer", "first_step"} <= set(found.startup_s)
    assert not any(outcome["flags"].values())


@pytest.mark.parametrize(("name", "quantization"), [("llama", "nf4"), ("bart", "int8"), ("t5", "nf4")])
def test_it_trains_an_adapter_on_a_quantised_base(name, quantization, workload, probe):
    outcome = probe(
        workload(name),
        short(),
        method="lora",
        quantization=quantization,
        precision="bf16",
        gradient_checkpointing=True,
    )

    assert outcome["status"] == "ok", outcome["error"]["traceback"]


def test_confirming_accumulates_in_full_and_evaluates(workload, probe):
    generating = workload("bart", generation=Generation(num_beams=2, max_new_tokens=5))

    outcome = probe(generating, short(purpose="confirm"), gradient_accumulation_steps=5)

    found = Measurements.from_dict(outcome["measurements"])
    assert outcome["phase"] == "worst_case"  # the longest once more, after typical steps
    assert found.eval_samples_per_s > 0
    assert found.eval_device_peak_used_bytes > 0
    assert found.samples_per_s == pytest.approx(5 / found.step_s)


def test_training_and_evaluation_are_told_apart(workload, probe, monkeypatch):
    told = []
    for name in ("peak", "part_over"):
        usual = getattr(HostMeter, name)
        monkeypatch.setattr(HostMeter, name, lambda meter, n=name, f=usual: (told.append(n), f(meter))[1])

    probe(workload("bart"), short(purpose="confirm"))

    assert told == ["peak", "part_over", "peak", "part_over", "peak"]


@pytest.mark.parametrize("generation", [None, Generation(num_beams=2, max_new_tokens=5)])
def test_an_evaluation_probe_trains_the_worst_case_first(generation, workload, probe):
    outcome = probe(workload("llama", generation=generation), short(purpose="eval"))

    found = Measurements.from_dict(outcome["measurements"])
    assert outcome["phase"] == "eval"
    assert found.train_device_peak_used_bytes > 0
    assert found.eval_samples_per_s > 0
    assert found.step_s is None


def test_inference_trains_nothing(workload, probe):
    outcome = probe(workload("t5", generation=Generation(1, 5)), short(purpose="inference"))

    found = Measurements.from_dict(outcome["measurements"])
    assert outcome["phase"] == "eval"
    assert found.eval_samples_per_s > 0
    assert found.eval_device_peak_used_bytes > 0
    assert found.train_device_peak_used_bytes is None
    assert found.loss is None


def test_generation_is_really_run_to_its_limit(workload, probe, monkeypatch):
    made = []
    generate = trainer.Seq2SeqTrainer.prediction_step

    def watched(self, *args, **options):
        result = generate(self, *args, **options)
        made.append(result[1].shape[1])
        return result

    monkeypatch.setattr(trainer.Seq2SeqTrainer, "prediction_step", watched)

    probe(workload("bart", generation=Generation(num_beams=2, max_new_tokens=7)), short(purpose="eval"))

    assert made
    assert min(made) >= 8


def test_the_worst_batch_is_as_long_as_the_longest_samples(workload, probe, monkeypatch):
    shapes = []
    step = trainer.Trainer.training_step

    def watched(self, model, inputs, *args):
        shapes.append((inputs["input_ids"].shape[1], inputs["labels"].shape[1]))
        return step(self, model, inputs, *args)

    monkeypatch.setattr(trainer.Trainer, "training_step", watched)

    probe(workload("bart"), short(), gradient_accumulation_steps=2, per_device_train_batch_size=3)

    assert shapes[0] == shapes[1] < (48, 24)
    assert shapes[2:4] == [(48, 24)] * 2
    assert max(shapes[4:]) <= (48, 24)
    assert len(set(shapes[4:])) > 1


def test_one_sample_ten_times_the_usual_length_is_the_worst_case(tmp_path, workload, probe):
    lines = [{"text": "word " * 20, "summary": "short"} for _ in range(60)]
    lines[37]["text"] = "word " * 200
    path = tmp_path / "data.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = workload("llama", data=Data(str(path), "text", "summary", longest_index=37), max_source_length=500)

    outcome = probe(found, short(), per_device_train_batch_size=2)

    assert outcome["measurements"]["longest_source_tokens"] > 10 * 20


def test_what_fails_is_told_with_its_phase_its_cause_and_its_traceback(workload, probe, monkeypatch):
    def fail(*_args, **_options):
        message = "outer"
        raise torch.OutOfMemoryError(message) from OSError("inner")

    monkeypatch.setattr(trainer.Trainer, "training_step", fail)

    outcome = probe(workload("bart"), short())

    assert outcome["status"] == "error"
    assert outcome["phase"] == "worst_case"
    assert outcome["error"]["type"] == "torch.OutOfMemoryError"
    assert outcome["error"]["message"] == "outer"
    assert outcome["error"]["chain"] == [{"type": "OSError", "message": "inner"}]
    assert "in training_step" in outcome["error"]["traceback"]
    assert outcome["measurements"]["startup_s"]["build"] > 0


def test_a_device_that_is_lost_leaves_the_outcome_of_what_it_was_at(workload, probe, monkeypatch):
    steps, lost, step = [], "CUDA error: device-side assert triggered", trainer.Observed.training_step

    def unanswered():
        if len(steps) > 10:
            raise RuntimeError(lost)

    def watched(self, *args, **options):
        steps.append(1)
        if len(steps) == 10:
            monkeypatch.setattr(HostMeter, "moment", lambda _: unanswered)
        if len(steps) > 10:
            raise RuntimeError(lost)
        return step(self, *args, **options)

    monkeypatch.setattr(trainer.Observed, "training_step", watched)

    outcome = probe(workload("llama"), short(precision_target=0.0))

    assert outcome["error"]["message"] == lost
    assert "in watched" in outcome["error"]["traceback"]
    assert outcome["measurements"]["micro_step_s"] > 0


def test_the_longest_once_more_is_told_its_tokens_as_every_step_is(workload, probe, monkeypatch):
    items, step = [], trainer.Trainer.training_step

    def watched(self, model, inputs, num_items_in_batch=None):
        items.append(num_items_in_batch)
        return step(self, model, inputs, num_items_in_batch)

    monkeypatch.setattr(trainer.Trainer, "training_step", watched)

    outcome = probe(workload("llama"), short(), per_device_train_batch_size=2)

    assert outcome["phase"] == "worst_case"
    assert items[-1] == items[1]  # of the worst case, without accumulation


def test_out_of_memory_in_evaluation_is_told_apart(workload, probe, monkeypatch):
    def fail(*_args, **_options):
        message = "CUDA out of memory"
        raise torch.OutOfMemoryError(message)

    monkeypatch.setattr(trainer.Trainer, "prediction_step", fail)

    outcome = probe(workload("bart"), short(purpose="eval"))

    assert (outcome["status"], outcome["phase"]) == ("error", "eval")


def test_an_unreadable_request_is_an_outcome_too(tmp_path):
    (tmp_path / "request.json").write_text("{")

    assert child.main(str(tmp_path)) == 1
    assert json.loads((tmp_path / "outcome.json").read_text())["error"]["type"] == "json.decoder.JSONDecodeError"


def test_a_loss_that_is_not_finite_is_reported_though_the_trainer_hides_it(workload, probe, monkeypatch):
    step = trainer.Trainer.training_step
    monkeypatch.setattr(trainer.Trainer, "training_step", lambda *a, **k: step(*a, **k) * float("nan"))

    assert math.isnan(probe(workload("bart"), short())["measurements"]["loss"])


def test_a_hopeless_probe_ends_early(workload, probe, monkeypatch):
    monkeypatch.setattr(conductor, "LOOK_EVERY_S", 0.0)  # a fast machine does many steps between two looks
    outcome = probe(workload("bart"), short(precision_target=0.0, hopeless_samples_per_s=1e9))

    assert outcome["flags"]["hopeless"]
    assert outcome["measurements"]["steps_timed"] < 40  # of 48


def test_a_deadline_long_past_still_leaves_a_figure(workload, probe):
    outcome = probe(workload("bart"), short(max_seconds=0.001))

    assert outcome["measurements"]["step_s"] > 0


def test_a_peak_above_the_limit_is_flagged(workload, probe):
    assert probe(workload("bart"), short(), Limits(device_bytes=2**20))["flags"]["over_limit"]


def test_a_confirmation_whose_evaluation_is_above_the_limit_ends_there(workload, probe):
    outcome = probe(workload("bart"), short(purpose="confirm"), Limits(device_bytes=2**20))

    assert (outcome["status"], outcome["phase"]) == ("ok", "eval")
    assert outcome["flags"]["over_limit"]
    found = Measurements.from_dict(outcome["measurements"])
    assert found.eval_device_peak_used_bytes > 2**20
    assert (found.step_s, found.steps_timed) == (None, None)


def test_a_slow_data_set_starves_the_device(tmp_path, workload, probe, monkeypatch):
    path = tmp_path / "data.jsonl"
    path.write_text("".join(json.dumps({"text": f"a few words {i}", "summary": "few"}) + "\n" for i in range(40)))
    item = TextSamples.__getitem__

    def slow(self, index):
        time.sleep(0.05)
        return item(self, index)

    monkeypatch.setattr(TextSamples, "__getitem__", slow)
    found = workload("bart", data=Data(str(path), "text", "summary"), lengths=Lengths((3, 5), (1, 2)))

    outcome = probe(found, short(max_seconds=5.0), per_device_train_batch_size=4, dataloader_num_workers=1)

    assert outcome["measurements"]["loader_wait_fraction"] > 0.5
    assert outcome["measurements"]["loader_batch_s"] == pytest.approx(0.2, rel=0.5)
    assert outcome["measurements"]["loader_worker_bytes"] > 2**20


def test_grouping_by_length_is_probed_as_it_trains(workload, probe):
    outcome = probe(workload("llama"), short(), train_sampling_strategy="group_by_length")

    assert outcome["status"] == "ok"


def test_the_recipe_is_applied_where_the_trainer_knows_it(workload, probe, monkeypatch):
    seen = []
    make = child.make_trainer
    monkeypatch.setattr(child, "make_trainer", lambda session: seen.append(make(session)) or seen[0])
    recipe = {"learning_rate": 3e-3, "label_smoothing_factor": 0.1, "no_such_key": 1, "save_strategy": "epoch"}

    outcome = probe(workload("llama", recipe=recipe), short())

    assert outcome["status"] == "ok"
    assert seen[0].args.learning_rate == 3e-3
    assert seen[0].label_smoother is not None
    assert seen[0].args.save_strategy == "no"


def test_a_card_is_given_the_longest_batch_again_at_the_end(workload, probe, monkeypatch):
    shapes = []
    step = trainer.Trainer.training_step

    def watched(self, model, inputs, *args):
        shapes.append(inputs["input_ids"].shape[1])
        return step(self, model, inputs, *args)

    monkeypatch.setattr(trainer.Trainer, "training_step", watched)
    monkeypatch.setattr(HostMeter, "card", "NVIDIA H100", raising=False)
    monkeypatch.setattr(HostMeter, "energy_j", lambda _: time.monotonic() * 100)
    monkeypatch.setattr(HostMeter, "utilization", lambda _: 0.5)

    outcome = probe(workload("bart"), short())

    found = Measurements.from_dict(outcome["measurements"])
    assert outcome["phase"] == "worst_case"
    assert shapes[-1] == 48
    assert found.gpu_utilization_fraction == 0.5
    assert found.energy_j_per_sample > 0
    assert 0 < found.mfu < 1
