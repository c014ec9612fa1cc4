import pytest
import recorded

from autobatch.review.database import Database
from autobatch.review.figures import all_figures


@pytest.fixture(scope="module")
def figures(tmp_path_factory):
    path = tmp_path_factory.mktemp("db") / "trials.db"
    recorded.make(path)
    database = Database(path)
    study = database.study()
    trials = sorted(database.trials(study), key=lambda trial: trial.number)
    return {figure.key: figure for figure in all_figures(study, trials)}


def series(figure, name, mark="points"):
    return next(found for found in figure.series if found.name == name and found.mark == mark)


def test_every_figure_of_a_whole_search_is_there(figures):
    assert list(figures) == ["memory", "throughput", "loader-wait", "loader-memory", "time-line", "pareto"]


def test_memory_has_arms_limits_a_fitted_line_and_what_ran_out_of_memory(figures):
    memory = figures["memory"]
    arm = series(memory, "bf16, gradient checkpointing")
    assert set(arm.points) == {(4.0, 12.4), (8.0, 18.0), (8.0, 18.1)}
    line = next(found for found in memory.series if found.mark == "dashes" and found.hue == arm.hue)
    assert line.points[0] == (4.0, pytest.approx(12.4))
    assert line.points[-1][0] == pytest.approx(16.0)  # on to where it ran out of memory
    assert line.points[-1][1] == pytest.approx(12.4 + 12 * (18.033 - 12.4) / 4, rel=0.01)
    assert set(series(memory, "out of memory", "crosses").points) == {(4.0, 24.0), (16.0, 24.0)}
    assert [(level.name, level.value) for level in memory.levels] == [
        ("card 24 GiB", 24.0),
        ("safe 20.4 GiB", pytest.approx(20.4)),
    ]


def test_a_probe_that_ran_out_of_host_memory_is_not_held_against_the_card(figures):
    assert all(x != 8.0 for x, _ in series(figures["memory"], "out of memory", "crosses").points)
    assert (4.0, pytest.approx(48.0)) in series(figures["loader-memory"], "failed", "crosses").points


def test_throughput_keeps_what_failed_out_of_the_lines(figures):
    throughput = figures["throughput"]
    lines = [found.points for found in throughput.series if found.mark == "line"]
    assert all((2.0, pytest.approx(9.04, rel=0.01)) not in points for points in lines)
    assert (2.0, pytest.approx(9.04, rel=0.01)) in series(throughput, "failed", "crosses").points


def test_workers_are_compared_within_one_configuration(figures):
    (wait,) = (found for found in figures["loader-wait"].series if found.points)
    assert {x for x, _ in wait.points} == {0.0, 2.0}
    assert dict(wait.points)[0.0] == 18.0


def test_the_best_so_far_only_rises(figures):
    best = [y for _, y in series(figures["time-line"], "best so far", "steps").points]
    assert best == sorted(best)
    assert best[-1] == pytest.approx(16 / 1.32)


def test_the_front_has_no_trial_that_another_beats(figures):
    front = series(figures["pareto"], "best for their memory", "steps").points
    assert front[0] == (12.4, pytest.approx(16 / 1.45))
    assert [y for _, y in front] == sorted(y for _, y in front)
    assert all(memory_gib <= 20.4 for memory_gib, _ in front)


def test_many_arms_share_a_neutral_hue(tmp_path, monkeypatch):
    micro, _, checkpointing, *rest = recorded.RUNS[0]
    optimizers = [f"optimizer-{number}" for number in range(9)]
    monkeypatch.setitem(recorded.CHOICES, "precision", optimizers)
    monkeypatch.setattr(recorded, "RUNS", tuple((micro, name, checkpointing, *rest) for name in optimizers))
    recorded.make(tmp_path / "trials.db", answered=False)
    database = Database(tmp_path / "trials.db")
    trials = list(database.trials(database.study()))
    memory = all_figures(database.study(), trials)[0]
    hues = {found.name: found.hue for found in memory.series if found.mark == "points"}
    assert len(hues) == 7
    assert hues["other arms"] == -1


def test_no_trials_make_no_figures(tmp_path):
    recorded.make(tmp_path / "trials.db")
    assert all_figures(Database(tmp_path / "trials.db").study(), []) == []
