import pytest
from recorded import answer

from autobatch.review.answer import answer_text, compared, training_seconds
from autobatch.review.records import Study
from autobatch.review.trust import sentences


def test_the_answer_says_what_a_person_asks():
    text = answer_text(answer())
    assert text.splitlines()[0].startswith("Chosen: micro-batch 8 x accumulation 2, lora, bf16")
    assert "12.1 samples/s" in text
    assert "1 epoch of 12,457 samples in about 17 min" in text
    assert "18.1 of 24.0 GiB at most (75 %), 2.3 GiB below the safe limit of 20.4 GiB" in text
    assert "Second: micro-batch 4 x accumulation 4" in text
    assert "19 min for the training against 17 min, 2 min longer" in text
    assert "confirmed in a fresh process" in text
    assert "0.4 % left to gain" in text
    assert "2 x cuda_oom_train: Training does not fit on the card" in text
    assert "autobatch export best.yaml --study 'llama-3.2-korean-3b on 24 GiB'" in text


def test_what_the_person_has_now_is_told_beside_what_was_chosen():
    found = answer()
    assert "Yours" not in answer_text(found)
    assert "Yours: micro-batch 4" in answer_text({**found, "own": found["runner_up"]})
    rate = found["chosen"]["measurements"]["samples_per_s"] / found["runner_up"]["measurements"]["samples_per_s"]
    assert f"the chosen one comes to {rate:.2f} times as much" in answer_text({**found, "own": found["runner_up"]})
    assert "times as much" not in answer_text({**found, "own": found["chosen"]})


def test_one_left_for_being_slow_is_no_failure():
    assert "hopeless" not in answer_text(answer())
    assert "Failed: 4 probes." in answer_text(answer())


def test_the_field_notes_comparison_of_86_and_104_minutes():
    workload = {"train_samples": 12_457, "epochs": 1.0}
    rates = {"chosen": 16 / 6.6, "runner_up": 32 / 16.0}
    said = compared({"workload": workload} | {k: {"measurements": {"samples_per_s": v}} for k, v in rates.items()})
    assert said == ": 1 h 44 min for the training against 86 min, 18 min longer"


@pytest.mark.parametrize(
    ("busy", "waits", "said"), [(0.44, 0.01, True), (0.62, 0.3, False), (0.95, 0.0, False), (None, 0.0, False)]
)
def test_a_card_that_waits_for_its_host_is_said(busy, waits, said):
    found = answer()
    found["chosen"]["measurements"] |= {"gpu_utilization_fraction": busy, "loader_wait_fraction": waits}

    assert ("busy 44 % of the time; else it waits for the host" in answer_text(found)) is said


def test_inference_is_told_as_what_it_is():
    found = answer()
    found["workload"]["generation"] = {"num_beams": 4, "max_new_tokens": 128}
    for place, speed in (("chosen", 31.4), ("runner_up", 20.1)):
        found[place]["measurements"] = {"eval_samples_per_s": speed}
    text = answer_text(found)
    assert text.startswith("Chosen: for inference, lora, bf16")
    assert "31.4 samples/s of generation, 128 new tokens each, 4 beams" in text
    assert "20.1 samples/s" in text
    for word in ("s/step", "accumulation", "optim", "adamw", "training", "short probe"):
        assert word not in text.split("Stopped")[0]


@pytest.mark.parametrize("confirmed", [True, False])
def test_inference_says_whether_it_was_measured_again(confirmed):
    found = answer()
    found["chosen"] |= {"measurements": {"eval_samples_per_s": 31.4}, "confirmed": confirmed}
    said = sentences(Study("s", 1, 0), [], found)[0]
    assert ("not confirmed" in answer_text(found)) is ("not confirmed" in said) is not confirmed
    assert "longer" not in said


def test_the_answer_says_what_a_worker_costs():
    found = answer()
    found["chosen"]["measurements"] |= {"loader_wait_fraction": 0.0123, "loader_worker_bytes": 300 * 2**20}
    found["chosen"]["configuration"]["dataloader_num_workers"] = 2
    line = "loader    2 workers: the device waits 1.2 % of the time, one takes 300 MiB of host memory"
    assert line in answer_text(found)


def test_a_tie_is_called_one():
    found = answer()
    found["runner_up"]["measurements"]["samples_per_s"] = found["chosen"]["measurements"]["samples_per_s"] * 1.01
    assert "as good as equal" in answer_text(found)


def test_nothing_feasible_says_what_would_help():
    found = answer() | {"chosen": None, "runner_up": None, "advice": "a card of 40 GiB, or 8-bit weights"}
    text = answer_text(found)
    assert text.startswith("Nothing was chosen")
    assert "What would help: a card of 40 GiB" in text
    assert "export" not in text
    assert "release" not in text


def test_where_nothing_is_chosen_what_is_held_back_may_be_released():
    held = [{"digest": "ab12", "configuration": answer()["chosen"]["configuration"]}]
    lines = answer_text(answer() | {"chosen": None, "runner_up": None, "held_back": held}).splitlines()
    assert lines[0] == "Nothing was chosen: nothing that was tried is known to be safe within the limits."
    assert "until `autobatch release` says so" in lines[1]
    assert any("autobatch release ab12 --study" in line for line in lines[2:])


def test_an_answer_without_workload_and_limits_is_still_told():
    found = {key: value for key, value in answer().items() if key not in {"workload", "limits"}}
    text = answer_text(found)
    assert "card: 18.1 GiB at most" in text
    assert "training" not in text.split("Next")[0].split("Failed")[0]


def test_an_unconfirmed_choice_and_an_interruption_are_said():
    found = answer() | {"interrupted": True}
    found["chosen"]["confirmed"] = False
    assert "not confirmed" in answer_text(found)
    assert "the same command goes on" in answer_text(found)


def test_names_cannot_drive_the_terminal():
    assert "\x1b" not in answer_text(answer() | {"stopped": "\x1b[31mred"})


def test_training_seconds_are_epochs_times_samples_over_throughput():
    assert training_seconds({"train_samples": 100, "epochs": 3}, 10.0) == 30.0
    assert training_seconds({"train_samples": 100, "epochs": 3}, None) is None
    assert training_seconds({}, 10.0) is None


def test_on_the_cpu_the_host_is_the_card():
    found = answer()
    found["limits"] |= {"host_bytes": found["limits"]["device_bytes"]}
    assert "memory    card:" not in answer_text(found)
    assert "host: 6.0 of 24.0 GiB" in answer_text(found)


@pytest.mark.parametrize(
    ("confirmed", "why"), [(True, "was confirmed"), (False, "is the faster by all probes together")]
)
def test_a_second_that_only_one_short_probe_calls_faster_is_not_said_to_be(confirmed, why):
    places = {
        "chosen": {"measurements": {"samples_per_s": 90.0}, "confirmed": confirmed},
        "runner_up": {"measurements": {"samples_per_s": 100.0}, "confirmed": False},
    }
    said = compared({"workload": {"train_samples": 9000, "epochs": 1}, **places})
    assert said.endswith(f"by short probes alone: the chosen one {why}")


def test_what_is_held_back_is_said_with_the_command_that_releases_it():
    assert "Held back" not in answer_text(answer())
    held = {"digest": "0123456789abcdef", "configuration": {"per_device_train_batch_size": 16}}
    text = answer_text({**answer(), "database": "my runs.db", "held_back": [held]})
    assert "Held back: 1 configuration" in text
    assert "micro-batch 16" in text
    study = "--study 'llama-3.2-korean-3b on 24 GiB'"
    assert f"autobatch release 0123456789abcdef {study} --db 'my runs.db'" in text
