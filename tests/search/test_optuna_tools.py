"""Optuna's own tools must work on a study that a search made."""

import optuna
import pytest
from optuna.storages import InMemoryStorage
from optuna.trial import TrialState

from autobatch import attributes
from autobatch.search.samplers import CandidateSampler
from autobatch.search.study import distributions


@pytest.fixture
def study(search):
    storage = InMemoryStorage()
    search(storage=storage, sampler_name="grid").run()
    return optuna.load_study(study_name="autobatch", storage=storage)


def test_parameters_go_by_their_hugging_face_names(study):
    names = {"per_device_train_batch_size", "precision", "gradient_checkpointing"}
    assert all(set(trial.params) == names for trial in study.trials)


def test_a_trial_that_is_not_feasible_is_never_best(study):
    infeasible = [t for t in study.trials if t.user_attrs[attributes.VERDICT] != "ok"]
    assert infeasible
    assert all(t.value == 0.0 and t.constraints[attributes.CONSTRAINT] > 0 for t in infeasible)
    assert all(t.system_attrs["constraints"][0] > 0 for t in infeasible)  # what the dashboard reads
    assert study.best_trial.user_attrs[attributes.VERDICT] == "ok"
    assert study.best_trial.constraints[attributes.CONSTRAINT] <= 0


def test_every_trial_says_what_and_why(study):
    for trial in study.trials:
        assert {attributes.WHY, attributes.HINT, attributes.STAGE, attributes.PROBE_S} <= set(trial.user_attrs)


def test_importances_find_what_matters(study):
    importances = optuna.importance.get_param_importances(
        study, evaluator=optuna.importance.PedAnovaImportanceEvaluator()
    )
    assert set(importances) == {"per_device_train_batch_size", "precision", "gradient_checkpointing"}


@pytest.mark.parametrize(
    "plot",
    ["plot_optimization_history", "plot_slice", "plot_contour", "plot_parallel_coordinate", "plot_rank", "plot_edf"],
)
def test_plots_draw(study, plot):
    pytest.importorskip("plotly")
    assert getattr(optuna.visualization, plot)(study).data


def test_the_structured_sampler_serves_optuna_alone(search, world, space, optimum):
    made = search()
    made.run()
    sampler = made._sampler
    study = optuna.create_study(direction="maximize", sampler=sampler)

    def objective(trial):
        trial.suggest_float("warmup_ratio", 0.0, 0.1)  # a setting it has no model for
        configuration = space.at(
            {name: trial.suggest_categorical(name, space.searched[name]) for name in space.searched},
            trial.suggest_categorical("per_device_train_batch_size", space.micro_batches),
        )
        return world.throughput(configuration)

    study.optimize(objective, n_trials=2)
    assert all(0.0 <= trial.params["warmup_ratio"] <= 0.1 for trial in study.trials)
    assert study.best_value > 0.3 * optimum


def test_predictions_are_kept_beside_measurements(search):
    storage = InMemoryStorage()
    search(storage=storage).run()
    study = optuna.load_study(study_name="autobatch", storage=storage)
    kept = [t.user_attrs for t in study.trials if t.user_attrs[attributes.STAGE] == "search"]
    names = {attributes.PREDICTED_SAMPLES_PER_S, attributes.PREDICTED_PEAK_GIB, attributes.CHANCE_TO_FIT}
    assert all(names <= set(attrs) for attrs in kept)
    assert all(attrs[attributes.LEFT_TO_GAIN] >= 0 for attrs in kept[1:])


def test_candidates_cover_their_distributions(space):
    sampler = CandidateSampler(space, space.grid(), seed=0)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    trial = study.ask(distributions(space))
    study.tell(trial, state=TrialState.FAIL)
    assert set(trial.params) == set(distributions(space))
