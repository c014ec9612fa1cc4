"""A grid in parts on several cards: its pieces, who takes them, and what a case came to."""

import json
import threading

import pytest

from benchmarks import grid, processes
from benchmarks.common import Deadline
from benchmarks.grid_pieces import Piece, cases_of, line, ok, pieces_of, row_of
from benchmarks.grid_rest import one_after_another_s

WORDS = [
    "--case",
    "kobart:24GiB",
    "--split",
    "optim=adafactor/adamw_8bit",
    "--fix",
    "precision=bf16",
    "--seconds",
    "99",
]


@pytest.fixture
def pieces():
    options = grid.command().parse_args(WORDS)
    return pieces_of(options.case[0], options)


def answered(piece, samples_per_s, *, probe_s, stopped="every configuration has been tried", **chosen):
    measurements = {"samples_per_s": samples_per_s}
    piece.answer = {
        "chosen": {"configuration": chosen, "measurements": measurements},
        "interrupted": False,
        "stopped": stopped,
        "probes": len(probe_s) + 1,
        "probe_seconds": sum(probe_s) + 20.0,
    }
    confirmation = {"stage": "confirm", "probe_s": 20.0, "settings": {}}
    piece.trials = [confirmation, *(probe(one) for one in probe_s)]
    return piece


class AtOnce:
    """Cards that do all work at once, one piece after the other."""

    def run(self, work):
        for call in work:
            call("cuda:0")


def probe(probe_s, *, verdict="ok", samples_per_s=400.0, **settings):
    return {
        "stage": "search",
        "probe_s": probe_s,
        "verdict": verdict,
        "samples_per_s": samples_per_s,
        "settings": settings,
    }


def test_a_case_is_a_search_and_a_part_of_the_grid_for_each_value(pieces):
    search, *parts = pieces
    common = ["--gpu-memory", str(24 << 30), "--fix", "precision=bf16"]
    assert search.options == [
        *("--model", "kobart", "--sampler", "structured"), *common, "--search", "optim=adafactor,adamw_8bit",
    ]  # fmt: skip
    assert [part.options[-1] for part in parts] == ["optim=adafactor", "optim=adamw_8bit"]
    assert all(part.options[3] == "grid" for part in parts)
    assert len({piece.name for piece in pieces}) == 3


def test_a_part_of_the_grid_may_be_several_values():
    options = grid.command().parse_args(WORDS)
    options.split = ["optim=adafactor,adamw_8bit/paged_adamw_8bit"]
    search, both, one = pieces_of("kobart", options)
    assert search.options[-1] == "optim=adafactor,adamw_8bit,paged_adamw_8bit"
    assert both.options[-2:] == ["--search", "optim=adafactor,adamw_8bit"]
    assert one.options[-2:] == ["--fix", "optim=paged_adamw_8bit"]
    assert both.name == "kobart-optim-adafactor-adamw_8bit"


def test_where_two_settings_are_split_there_is_a_part_for_every_pair():
    options = grid.command().parse_args([*WORDS, "--split", "quantization=none/nf4"])
    search, *parts = pieces_of("kobart", options)
    assert search.request["search"] == ("optim=adafactor,adamw_8bit", "quantization=none,nf4")
    pairs = {part.request["fix"][1:] for part in parts}
    assert pairs == {
        (f"optim={optim}", f"quantization={kind}") for optim in ("adafactor", "adamw_8bit") for kind in ("none", "nf4")
    }
    assert not any(part.request["search"] for part in parts)
    assert parts[0].name == "kobart-optim-adafactor-quantization-none"


def test_the_grids_seconds_are_its_probes_one_import_and_one_confirmation(pieces):
    search, one, other = pieces
    answered(search, 500.0, probe_s=[5.0, 5.0]).wall_s = 45.0  # 15 s of imports
    answered(one, 490.0, probe_s=[100.0, 200.0])
    answered(other, 505.0, probe_s=[200.0])

    row = row_of(search, [one, other], {"rel_difference": -0.01, "half_width": 0.03})

    assert row["grid_s"] == 535.0
    assert row["grid"]["samples_per_s"] == 505.0
    assert row["share_of_grid"] == pytest.approx(45 / 535)
    assert ok(row)
    assert "8.4%" in line(row)
    assert "-1.0% +/- 3.0%" in line(row)


@pytest.mark.parametrize(
    ("compared", "stopped", "wall_s"),
    [
        ({"rel_difference": -0.03}, "every configuration has been tried", 45.0),
        ({}, "every configuration has been tried", 45.0),
        ({"rel_difference": 0.0}, "the budget is used up", 45.0),
        ({"rel_difference": 0.0}, "every configuration has been tried", 90.0),
    ],
)
def test_a_case_must_be_complete_as_good_and_quick(pieces, compared, stopped, wall_s):
    search, *parts = pieces
    answered(search, 500.0, probe_s=[10.0]).wall_s = wall_s
    for part in parts:
        answered(part, 500.0, probe_s=[250.0], stopped=stopped)
    assert not ok(row_of(search, parts, compared))


def test_a_choice_that_is_faster_than_the_grids_is_as_good(pieces):
    search, *parts = pieces
    answered(search, 500.0, probe_s=[10.0]).wall_s = 45.0
    for part in parts:
        answered(part, 500.0, probe_s=[250.0])
    assert ok(row_of(search, parts, {"rel_difference": 0.05}))


def test_a_part_in_which_nothing_fits_is_complete_too(pieces):
    search, one, other = pieces
    nothing = {"chosen": None, "interrupted": False, "stopped": "every configuration has been tried"}
    for piece in (search, one):
        piece.answer = dict(nothing)
    other.answer = {"error": "it broke"}
    assert [piece.complete for piece in pieces] == [False, True, False]


def test_what_did_not_run_is_said(pieces):
    search, *parts = pieces
    row = row_of(search, parts, None)
    assert not ok(row)
    assert "not complete" in line(row)


def test_every_card_takes_the_next_piece(tmp_path, monkeypatch):
    monkeypatch.setattr(grid, "cores_of", lambda count: [grid.os.sched_getaffinity(0)] * count)
    both = threading.Barrier(2, timeout=30)  # two at a time, or it breaks
    devices = []

    def call(device):
        devices.append(device)
        both.wait()

    kept = []
    grid.Cards(2, tmp_path, Deadline(1000.0), lambda: kept.append(1)).run([call] * 4)
    assert sorted(devices) == ["cuda:0", "cuda:0", "cuda:1", "cuda:1"]
    assert len(kept) == 4


def test_nothing_is_begun_when_the_time_is_short(tmp_path):
    called = []
    grid.Cards(1, tmp_path, Deadline(grid.LEAST_S - 1), lambda: None).run([called.append])
    assert called == []


def test_a_piece_keeps_its_answer_and_its_trials(tmp_path, monkeypatch, pieces):
    def run(words, seconds):
        asked.append((words[2], seconds))
        told = {"chosen": None} if words[2] == "search" else [probe(3.0)]
        return processes.Done(0, json.dumps(told), "", timed_out=False)

    asked: list = []
    monkeypatch.setattr(processes, "run", run)
    piece: Piece = pieces[0]
    grid.Cards(1, tmp_path, Deadline(200.0, lambda: 0.0), lambda: None).search(piece, 60.0, "cuda:0")
    assert asked == [("search", 200.0), ("trials", grid.LIST_S)]
    assert (piece.answer, piece.trials) == ({"chosen": None}, [probe(3.0)])
    assert not piece.complete


def test_a_part_goes_on_with_its_database_and_a_search_begins_anew(tmp_path, monkeypatch, pieces):
    monkeypatch.setattr(processes, "run", lambda *_: processes.Done(0, "", "", timed_out=False))
    files = [tmp_path / f"{piece.name}.db" for piece in pieces]
    for file in files:
        file.touch()
    cards = grid.Cards(1, tmp_path, Deadline(200.0, lambda: 0.0), lambda: None)
    for piece in pieces:
        cards.search(piece, 60.0, "cuda:0")
    assert [file.exists() for file in files] == [False, True, True]


def test_with_too_little_time_a_piece_is_not_begun(tmp_path, monkeypatch, pieces):
    monkeypatch.setattr(processes, "run", lambda *_: pytest.fail("begun"))
    grid.Cards(1, tmp_path, Deadline(200.0, lambda: 0.0), lambda: None).search(pieces[1], 300.0, "cuda:0")
    assert not pieces[1].answer


def test_a_run_goes_on_with_what_was_complete(pieces):
    options = grid.command().parse_args([*WORDS, "--resume", "before.json"])
    search, one, other = pieces
    answered(search, 500.0, probe_s=[5.0])
    answered(one, 490.0, probe_s=[100.0])
    answered(other, 505.0, probe_s=[200.0], stopped="the budget is used up")
    before = json.loads(json.dumps(grid.Whole(options, [pieces]).figures()))

    again = grid.Whole(options, [pieces_of(options.case[0], options)])
    again.take_up(before)
    other_space = pieces_of(options.case[0], grid.command().parse_args([*WORDS, "--fix", "precision=fp32"]))
    grid.Whole(options, [other_space]).take_up(before)

    assert [piece.complete for piece in again.cases[0]] == [True, True, False]
    assert [trial["probe_s"] for trial in again.cases[0][1].trials] == [20.0, 100.0]
    assert not any(piece.answer for piece in other_space)


def test_only_what_is_missing_is_run(pieces):
    options = grid.command().parse_args(WORDS)
    search, one, _ = pieces
    answered(search, 500.0, probe_s=[5.0])
    answered(one, 490.0, probe_s=[100.0])
    begun = []

    class Idle(AtOnce):
        def search(self, piece, least_s, device):
            begun.append((piece.part, least_s, device))

        def compare(self, *_):
            pytest.fail("a case that is not complete is not compared")

    grid.Whole(options, [pieces]).run(Idle())
    assert begun == [("optim=adamw_8bit", grid.LEAST_S, "cuda:0")]


SHARED = [*WORDS, "--case", "kobart:80GiB", "--case", "kobart", "--case", "tiny-t5", "--shared"]


def whole_of(words):
    options = grid.command().parse_args(words)
    return grid.Whole(options, cases_of(options))


@pytest.fixture
def shared():
    return whole_of(SHARED)


def test_cards_of_a_model_share_its_grid(shared):
    assert [[piece.part for piece in case] for case in shared.cases] == [
        ["", "optim=adafactor", "optim=adamw_8bit"],
        ["", "rest"],
        ["", "rest"],
        ["", "optim=adafactor", "optim=adamw_8bit"],
    ]
    small, large = shared.cases[:2]
    assert shared.smaller(large) == small[1:]
    assert shared.smaller(small) == []
    assert {**large[1].request, "sampler": ""} == {**large[0].request, "sampler": ""}


def test_the_larger_card_is_asked_for_what_did_not_fit_and_counts_the_other_probes_too(shared):
    small, large = shared.cases[:2]
    shared.cases[2:] = []
    answered(small[0], 500.0, probe_s=[5.0])
    answered(large[0], 900.0, probe_s=[15.0]).wall_s = 45.0  # 10 s of imports
    small_trials = [
        [probe(30.0, samples_per_s=500.0, optim="adafactor"), probe(9.0, verdict="cuda_oom_train", precision="fp32")],
        [probe(7.0, verdict="hopeless", samples_per_s=60.0, optim="adamw_8bit"), probe(40.0, optim="adamw_8bit")],
    ]
    for part, trials in zip(small[1:], small_trials, strict=True):
        answered(part, 500.0, probe_s=[])
        part.trials += trials

    class Fit(AtOnce):
        def search(self, piece, *_):
            answered(piece, 900.0, probe_s=[])
            again, *rest = piece.settings
            piece.trials += [probe(31.0, samples_per_s=505.0, **again)]
            piece.trials += [probe(50.0, samples_per_s=900.0, **one) for one in rest]

        def compare(self, *_):
            return {"rel_difference": 0.0}

    shared.run(Fit())

    assert large[1].settings == [{"optim": "adafactor"}, {"precision": "fp32"}]
    row = shared.rows()[1]
    assert (row["grid_probes"], row["taken_over"]) == (4, 3)
    assert row["grid_s"] == 10.0 + 30.0 + 7.0 + 40.0 + 50.0 + 20.0
    again = grid.Whole(shared.options, cases_of(shared.options))
    again.take_up(json.loads(json.dumps(shared.figures())))
    assert again.rows()[1] == row


def test_the_rest_is_shared_out_among_cards():
    whole = whole_of([*SHARED, "--rests", "2"])
    whole.cases[2:] = []
    small, (search, *rests) = whole.cases
    assert [rest.part for rest in rests] == ["rest 1/2", "rest 2/2"]
    assert rests[0].name == "kobart-80GiB-rest-1-2"
    for piece in (small[0], search):
        answered(piece, 500.0, probe_s=[5.0])
    for part in small[1:]:
        answered(part, 500.0, probe_s=[9.0])
        part.trials += [probe(1.0, verdict="cuda_oom_train", precision=one) for one in ("bf16", "fp16")]
    begun = []

    class Idle(AtOnce):
        def search(self, piece, *_):
            begun.append((piece.part, [one.get("precision") for one in piece.settings]))
            answered(piece, 600.0, probe_s=[])
            piece.trials += [probe(10.0, **one) for one in piece.settings]

        def compare(self, *_):
            return {"rel_difference": 0.0}

    whole.run(Idle())

    assert begun == [("rest 1/2", [None, "bf16", "bf16"]), ("rest 2/2", [None, "fp16", "fp16"])]
    row = whole.rows()[1]
    assert (row["grid_probes"], row["taken_over"]) == (6, 2)


def test_the_rest_of_a_grid_waits_for_the_smaller_cards(shared):
    begun = []

    class Idle(AtOnce):
        def search(self, piece, *_):
            begun.append(piece.part)

    shared.run(Idle())
    assert "rest" not in begun


def test_the_rest_is_a_search_among_given_configurations(tmp_path, monkeypatch, shared):
    rest = shared.cases[1][1]
    rest.settings = [{"optim": "adafactor"}]
    asked: list = []
    nothing = processes.Done(0, "", "", timed_out=False)
    monkeypatch.setattr(processes, "run", lambda words, _: asked.append(words) or nothing)
    grid.Cards(1, tmp_path, Deadline(200.0, lambda: 0.0), lambda: None).search(rest, 60.0, "cuda:0")
    module, file = asked[0][1:]
    told = json.loads((tmp_path / "kobart-80GiB-rest.json").read_text())
    assert (module, file) == ("benchmarks.grid_rest", str(tmp_path / "kobart-80GiB-rest.json"))
    assert told["settings"] == rest.settings
    assert (told["job"]["sampler"], told["job"]["gpu_memory_bytes"]) == ("grid", 80 << 30)


def test_a_part_counts_as_beside_the_fastest_of_the_parts_before():
    first = [probe(10.0, samples_per_s=100.0), probe(11.0, samples_per_s=10.0)]
    second = [probe(12.0, samples_per_s=49.0), probe(13.0, samples_per_s=50.0), probe(3.0, verdict="hopeless")]
    without = [probe(14.0, samples_per_s=49.0)]
    assert one_after_another_s([first]) == 21.0
    assert one_after_another_s([first, second]) == 21.0 + 3.0 + 13.0 + 3.0
    assert one_after_another_s([first, without]) == 21.0
    assert one_after_another_s([second, first]) == 28.0 + 10.0
