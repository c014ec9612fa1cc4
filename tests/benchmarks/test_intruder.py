"""The parts of the intruder's benchmark that need no card."""

import json
import subprocess
import sys

import click
import pytest

from autobatch.cli.search import command as search_command
from autobatch.settings import Configuration
from autobatch.store.ledger import Ledger
from autobatch.verdict import Kind, Measurements, Verdict
from benchmarks import intruder, intruder_parts
from benchmarks.common import Deadline
from benchmarks.intruder_search import Watched, disturbed, during, is_over, is_waiting, probes
from benchmarks.intruder_table import table, wrong
from benchmarks.side_by_side import alternately, compare, judged


def options(*arguments):
    return intruder.command().parse_args(["--device", "cuda:0", "--budget", "90s", *arguments])


@pytest.mark.parametrize("arguments", [(), ("--fix", "precision=fp32"), ("--gpu-memory", "")])
def test_the_search_is_one_that_the_command_line_takes(arguments):
    words = [*intruder_parts.search_options(options(*arguments)), "--detach", "--db", "trials.db"]
    asked = search_command.make_context("search", words)
    assert isinstance(asked, click.Context)
    assert (asked.params["model"], asked.params["device"], asked.params["budget"]) == ("kobart", "cuda:0", "90s")
    assert asked.params["fix"] == tuple(arguments[1:] if "--fix" in arguments else intruder_parts.FIXED)
    assert asked.params["gpu_memory"] == (None if "" in arguments else "24GiB")


def standing(state, reason="", **more):
    return {"state": state, "reason": reason, **more}


def watched(monkeypatch, tmp_path, *standings):
    """A search that stands so at each look, the last for ever."""
    left = list(standings)
    monkeypatch.setattr("benchmarks.intruder_search._LOOK_S", 0.0)
    return Watched(tmp_path / "trials.db", Deadline(600), look=lambda _: {1: left.pop(0) if len(left) > 1 else left[0]})


def test_changes_are_kept_and_a_wait_ends_with_what_was_wanted(monkeypatch, tmp_path):
    waits = standing("waiting", "waiting for the card: 70.0 GiB of it are in use by process 7")
    search = watched(monkeypatch, tmp_path, standing("queued"), standing("queued"), standing("running"), waits)
    assert search.wait(is_waiting, 60, "waiting") == waits
    assert [one["state"] for one in search.changes] == ["queued", "running", "waiting"]
    assert search.changes[-1]["reason"] == waits["reason"]


def test_a_search_that_is_over_is_not_waited_for(monkeypatch, tmp_path):
    search = watched(monkeypatch, tmp_path, standing("running"), standing("failed", "no such model"))
    with pytest.raises(RuntimeError, match="failed, no such model"):
        search.wait(is_waiting, 60, "a first probe")
    assert search.wait(is_over, 60, "the end")["state"] == "failed"


def test_a_wait_is_bounded(monkeypatch, tmp_path):
    search = watched(monkeypatch, tmp_path, standing("queued", "search 7 is at work"))
    with pytest.raises(TimeoutError, match="the end took more than 0 s: queued, search 7 is at work"):
        search.wait(is_over, 0.01, "the end")
    search.deadline = Deadline(0)
    with pytest.raises(TimeoutError, match="the end took more than 0 s"):
        search.wait(is_over, 600, "the end")


@pytest.fixture
def searched(tmp_path):
    """A database of a search in which the second probe was disturbed once and the third for good."""
    path = tmp_path / "trials.db"
    kinds = [(8, Kind.OK), (16, Kind.DISTURBED), (16, Kind.OK), (24, Kind.DISTURBED), (16, Kind.OK)]
    with Ledger.open(path) as ledger:
        for number, (micro_batch, kind) in enumerate(kinds):
            purpose = "confirm" if number == 4 else "probe"
            configuration = Configuration(per_device_train_batch_size=micro_batch)
            ledger.begin("s", number, configuration, purpose, "search").finish(Verdict(kind))
    return path


def test_disturbed_probes_and_what_repeated_them_are_found(searched):
    found = disturbed(probes(searched))
    assert [(one["trial"], one["micro_batch"], one["repeated_in"], one["repeated_kind"]) for one in found] == [
        (1, 16, 2, "ok"),
        (3, 24, None, None),
    ]


def test_probes_beside_the_intruder_are_those_that_overlap_its_stay():
    times = [(0, 10), (10, 20), (20, 30), (30, 40), (40, None)]
    rows = [
        {"trial": number, "purpose": "probe", "micro_batch": 1, "kind": "ok", "begun_at": begun, "ended_at": ended}
        for number, (begun, ended) in enumerate(times)
    ]
    assert [one["trial"] for one in during(rows, 15, 25)] == [1, 2]
    assert [one["trial"] for one in during(rows, 35, 45)] == [3, 4]


class Runner:
    """Measures what a table of samples/s says of a micro-batch, in order."""

    def __init__(self, figures, works=lambda: None):
        self.figures = figures
        self.works = works
        self.asked = []

    def run(self, configuration, plan, _):
        self.works()
        self.asked.append((configuration.micro_batch, plan.purpose))
        figure = self.figures[configuration.micro_batch].pop(0)
        kind = Kind.OK if figure else Kind.DISTURBED
        return Verdict(kind, Measurements(samples_per_s=figure))


def chosen(micro_batch):
    return {"configuration": Configuration(per_device_train_batch_size=micro_batch).to_dict(), "measurements": {}}


def side_by_side(first, second, deadline=None):
    runner = Runner({8: list(first), 16: list(second)})
    configurations = {"A": Configuration(chosen(8)["configuration"]), "B": Configuration(chosen(16)["configuration"])}
    return runner, judged(alternately(runner, configurations, len(first), deadline or Deadline(600)))


def test_answers_are_measured_in_turn_and_compared_round_by_round():
    runner, found = side_by_side([100.0, 50.0, 80.0], [101.0, 51.0, 80.0])
    assert [micro_batch for micro_batch, _ in runner.asked] == [8, 16, 16, 8, 8, 16]
    assert {purpose for _, purpose in runner.asked} == {"confirm"}
    assert found["rel_difference"] == pytest.approx(0.01)
    assert found["half_width"] == pytest.approx(4.303 * 0.01 / 3**0.5, rel=0.06)
    assert found["within"]


def test_a_round_that_was_disturbed_does_not_count():
    _, found = side_by_side([100.0, None], [95.0, 1.0])
    assert found["rel_difference"] == pytest.approx(-0.05)
    assert not found["within"]
    _, found = side_by_side([None], [95.0])
    assert (found["rel_difference"], found["within"]) == (None, False)


def test_no_round_is_begun_that_would_end_too_late():
    now = [0.0]
    runner = Runner({8: [1.0] * 3, 16: [1.0] * 3}, lambda: now.__setitem__(0, now[0] + 25))
    configurations = {name: Configuration(per_device_train_batch_size=n) for name, n in (("A", 8), ("B", 16))}
    found = alternately(runner, configurations, 3, Deadline(140, lambda: now[0]))
    assert [len(probes) for probes in found.values()] == [2, 2]
    assert judged(alternately(runner, configurations, 3, Deadline(0)))["rel_difference"] is None


def test_the_same_answer_is_not_measured_again(tmp_path):
    found = compare(None, {"A": chosen(8), "B": chosen(8)}, 2, tmp_path, Deadline(600))
    assert found["same_configuration"]
    assert found["within"]


def answer(**more):
    figures = {"measurements": {"samples_per_s": 512.0}, "configuration": chosen(8)["configuration"]}
    return {"chosen": figures, "state": "done", "reason": "", "stopped": "", "probes": 5, **more}


def report():
    beside = {"trial": 1, "purpose": "probe", "micro_batch": 8, "kind": "disturbed"}
    return {
        "held": answer(
            waited_for="waiting for the card: 71.6 GiB of it are in use by process 7",
            looks=40, looks_waiting=40, waited_s=20.0, first_probe_after_s=1.9, probes_before_it_ended=0,
        ),
        "alone": answer(disturbed=[]),
        "arrives": answer(beside_it=[beside], disturbed=[{**beside, "repeated_in": 2, "repeated_kind": "ok"}]),
        "compare": side_by_side([500.0], [505.0])[1],
    }  # fmt: skip


def test_the_table_says_what_was_seen():
    text = "\n".join(table(report()))
    assert wrong(report()) == []
    for said in (
        "in use by process 7",
        "40 of 40 in 20 s",
        "1.9 s",
        "trial 1",
        "1 in 2 (ok)",
        "512",
        "+1.0% (within 2%",
    ):
        assert said in text


@pytest.mark.parametrize(
    ("part", "change", "said"),
    [
        ("held", {"looks_waiting": 39}, "1 of 40 looks did not find it waiting"),
        ("held", {"probes_before_it_ended": 1}, "1 probes ran beside"),
        ("alone", {"chosen": None, "state": "failed", "reason": "no such model"}, "no answer: failed no such model"),
        ("arrives", {"beside_it": []}, "met no probe"),
        (
            "arrives",
            {"beside_it": [{"trial": 3, "kind": "ok"}]},
            "trial 3 ran beside the process and was not marked: ok",
        ),
        (
            "arrives",
            {"disturbed": [{"trial": 1, "repeated_in": None, "repeated_kind": None}]},
            "trial 1 was marked and not repeated",
        ),
        ("compare", {"within": False}, "differ by more"),
        ("compare", {"error": "RuntimeError: there are not two answers to compare"}, "there are not two answers"),
    ],
)
def test_what_is_not_as_it_should_be_is_said(part, change, said):
    spoilt = report()
    spoilt[part] = {**spoilt[part], **change}
    [line] = wrong(spoilt)
    assert line.startswith(f"{part}: ")
    assert said in line
    assert table(spoilt)


def test_a_part_that_fails_is_kept_and_the_others_run(monkeypatch, tmp_path):
    path = tmp_path / "intruder.json"

    def fails(folder, *_):
        assert folder.is_dir()
        raise RuntimeError("the card is too small")

    monkeypatch.setattr(intruder, "held", fails)
    monkeypatch.setattr(intruder, "alone", lambda *_: answer(disturbed=[]))
    intruder.run(options("--parts", "held", "alone", "--json", str(path)))
    kept = json.loads(path.read_text())
    assert "too small" in kept["held"]["error"]
    assert kept["alone"]["probes"] == 5
    assert kept["command"].startswith("python -m benchmarks.intruder")
    assert "compare" not in kept
    assert wrong(kept) == ["held: RuntimeError: the card is too small"]


@pytest.mark.parametrize(("seconds", "budget"), [(540, 90), (300, 50), (200, 40)])
def test_the_budget_is_a_share_of_the_time(seconds, budget):
    assert intruder.budget_s(seconds) == budget


def test_without_a_card_it_says_so_in_two_lines():
    code = "import sys, benchmarks.intruder as b; b.list_gpus = lambda: []; sys.exit(b.main())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 3
    assert done.stderr.splitlines()[0] == "There is no GPU here."
    assert len(done.stderr.splitlines()) == 2
