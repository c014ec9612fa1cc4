import json

import pytest

pytest.importorskip("yaml")
from autobatch.search import speed
from autobatch.search.earlier import Past
from autobatch.search.prior import HOST_SD
from benchmarks import replay, replay_synthetic, replay_table
from benchmarks.replay_machine import Slowness, slowed
from benchmarks.replay_prior import shapes_of
from benchmarks.replay_rules import RULES
from benchmarks.replay_surfaces import Case, Replay, read_surfaces

HEADER = (
    "model,method,precision,gradient_checkpointing,optim,source_length,target_length,trainable_parameters,"
    "per_device_train_batch_size,status,forward_backward_ms,forward_backward_ms_all,optimizer_step_ms,"
    "first_two_steps_s,build_s,cuda_context_s,resident_before_training_bytes,peak_allocated_bytes,"
    "peak_reserved_bytes,device_used_bytes"
)
GIB = 2**30


def rows():
    for method in ("lora", "qlora"):
        for checkpointing in ("false", "true"):
            for batch in (1, 2, 4, 8, 16):
                again = checkpointing == "true"
                used = (4 if method == "qlora" else 8) + batch * (0.5 if again else 2)
                micro_ms = max(100, 20 * batch) * (1.35 if again else 1) * (1.1 if method == "qlora" else 1)
                ran = used < 38
                figures = f"{micro_ms},{micro_ms},5,1.0" if ran else ",,,"
                tail = f"{round(used * GIB)}" if ran else ""
                yield (
                    f"strange-model,{method},bf16,{checkpointing},adamw_torch_fused,128,,1000,{batch},"
                    f"{'ok' if ran else 'oom'},{figures},0.5,0.3,1,1,1,{tail}"
                )


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "h100-strange-model.csv").write_text("\n".join([HEADER, *rows()]) + "\n")
    cases = [
        "- {model: strange-model, card_gib: 24, effective_batch: 16}",
        "- {model: strange-model, card_gib: 2, effective_batch: 16}",
    ]
    (tmp_path / "cases.yaml").write_text("cases:\n" + "\n".join(cases) + "\n")
    return tmp_path


def run(folder, *more):
    out = folder / "out.json"
    arguments = ["--surfaces", str(folder), "--cases", str(folder / "cases.yaml"), "--json", str(out), *more]
    replay.main(arguments)
    return json.loads(out.read_text())["rows"]


def test_a_folder_of_a_strange_model_replays_in_the_documented_form(folder, capsys):
    found = run(folder, "--seeds", "2", "--strategies", "structured", "grid", "random", *RULES)
    assert len(found) == 2 * (3 + len(RULES))
    lists = ("regret", "probes", "probe_seconds", "oom_probes", "unsafe")
    assert all(len(row[name]) == 2 for row in found for name in lists)
    assert "structured" in capsys.readouterr().out


def test_the_structured_sampler_finds_it_and_recognises_that_nothing_fits(folder):
    fits, not_ = run(folder, "--seeds", "3", "--strategies", "structured")
    assert max(fits["regret"]) <= 0.1
    assert not any(fits["unsafe"])
    assert max(fits["probes"]) < 20
    assert not_["optimum_samples_per_s"] is None
    assert not_["regret"] == [0.0, 0.0, 0.0]
    assert max(not_["probes"]) <= 3 * 4


def test_a_case_is_judged_without_noise(folder):
    surface = read_surfaces(folder)["strange-model"]
    case = Replay(surface, Case("strange-model", 24, 16), seed=0)
    best = max(case.candidates, key=lambda c: case.throughput(case._by_core[replay_core(c)]))
    assert case.judge(best) == (0.0, False)
    assert case.judge(None) == (1.0, False)
    too_large = next(c for c in case.candidates if not case.fits(case._by_core[replay_core(c)]))
    assert case.judge(too_large)[1]


def test_the_same_seed_shows_the_same_figures(folder):
    surface = read_surfaces(folder)["strange-model"]
    shown = []
    for _ in range(2):
        case = Replay(surface, Case("strange-model", 24, 16), seed=7)
        verdicts = [case.run(case.candidates[0], None, None) for _ in range(2)]
        shown.append([verdict.measurements.samples_per_s for verdict in verdicts])
    assert shown[0] == shown[1]
    assert shown[0][0] != shown[0][1]


def test_a_probe_that_runs_out_of_memory_shows_what_the_card_held_when_it_was_last_looked_at(folder):
    surface = read_surfaces(folder)["strange-model"]
    held = []
    for seed in range(9):
        case = Replay(surface, Case("strange-model", 24, 16), seed)
        too_large = next(c for c in case.candidates if not case.fits(case._by_core[replay_core(c)]))
        measured = case.run(too_large, None, None).measurements
        held.append(measured.device_peak_used_bytes / GIB)
        assert measured.samples_per_s is None
    assert 0 <= min(held) < 8
    assert 16 < max(held) <= 24


def replay_core(configuration):
    from autobatch.search.samplers import core

    return core(configuration)


def test_generic_samplers_take_as_many_probes_as_they_may_and_the_slow_one_fewer_seeds(folder):
    found = run(folder, "--seeds", "2", "--seeds-slow", "1", "--strategies", "structured", "random", "tpe@12", "gp@12")
    fits = {row["strategy"]: row for row in found if row["card_gib"] == 24}
    assert fits["tpe@12"]["probes"] == [12, 12]
    assert fits["gp@12"]["probes"] == [12]
    mine, random = (fits[name]["probe_seconds"] for name in ("structured", "random"))
    assert all(took >= given for took, given in zip(random, mine, strict=True))


def test_the_table_has_a_row_a_strategy(folder):
    rows = run(folder, "--seeds", "1", "--strategies", "structured", "grid")
    lines = replay_table.table(rows).splitlines()
    assert [line.split()[1] for line in lines[2:]] == ["structured", "grid"]


def test_synthetic_surfaces_replay(tmp_path):
    replay_synthetic.main(["--folder", str(tmp_path), "--surfaces", "2"])
    found = run(tmp_path, "--seeds", "1", "--strategies", "structured")
    assert len(found) == 8
    assert not any(unsafe for row in found for unsafe in row["unsafe"])
    assert sum(row["regret"][0] for row in found) / 8 < 0.05


def test_a_slower_machine_slows_what_bounds_a_row_and_keeps_the_rest(folder):
    surface = read_surfaces(folder)["strange-model"]
    assert slowed(surface, Slowness()) == surface
    launches = slowed(surface, Slowness(launches=3)).rows
    for before, after in zip(surface.rows, launches, strict=True):
        assert (before.arm, before.batch, before.used_bytes) == (after.arm, after.batch, after.used_bytes)
    # checkpointed rows: 0.135 s up to 4 samples, then 0.027 s a sample
    slow = {row.batch: row.micro_step_s for row in launches[5:10]}
    assert [slow[batch] for batch in (1, 4, 8, 16)] == pytest.approx([0.405, 0.405, 0.405, 0.432])
    device = {row.batch: row.micro_step_s for row in slowed(surface, Slowness(device=4)).rows[5:10]}
    assert [device[batch] for batch in (1, 2, 8, 16)] == pytest.approx([0.135, 0.216, 0.864, 1.728])


def test_a_search_finds_the_ended_search_of_another_model(folder):
    text = (folder / "h100-strange-model.csv").read_text()
    for model in ("solar-10.7b", "llama-3.2-korean-3b"):
        (folder / f"h100-{model}.csv").write_text(text.replace("strange-model", model))
    surfaces = read_surfaces(folder)
    storage = replay._after([(surfaces["solar-10.7b"], Case("solar-10.7b", 24, 16))], 0, prior=True)
    shapes = shapes_of(surfaces["llama-3.2-korean-3b"], 16, with_prior=True)
    past = Past(storage, "llama-3.2-korean-3b", shapes.workload, replay.MACHINE)
    arm = Replay(surfaces["llama-3.2-korean-3b"], Case("llama-3.2-korean-3b", 24, 16), 0).candidates[0]
    assert speed.corrected(shapes.pace, shapes.pace_for, past)(arm) != shapes.pace(arm)
    assert speed.corrected(shapes.pace, None, past)(arm).host_sd == HOST_SD


def test_searches_before_a_case_are_not_counted_in_it(folder):
    assert len(run(folder, "--seeds", "1", "--strategies", "structured", "--after", "strange-model")) == 2
    slow = run(folder, "--seeds", "1", "--strategies", "grid", "--slower", "2", "2")[0]
    usual = run(folder, "--seeds", "1", "--strategies", "grid")[0]
    assert slow["optimum_samples_per_s"] < 0.6 * usual["optimum_samples_per_s"]
