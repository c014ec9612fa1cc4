import pytest

from autobatch.errors import UsageError
from autobatch.job.space import Wishes, build_space, wishes
from autobatch.settings import METHOD, QUANTIZATION
from autobatch.workload.spec import Model, Workload


def space(fix=(), search=(), **more):
    workload = Workload(Model("m", "hub/m", "causal", {"model_type": "llama"}), **more)
    return build_space(workload, ("bf16",), 8, wishes(fix, search, None))


@pytest.mark.parametrize("search", ["quantization", "quantization=none,nf4", "quantization=nf4"])
def test_a_quantisation_that_no_full_training_can_have_is_refused(search):
    with pytest.raises(UsageError, match="would never be tried: a quantised base needs method=lora") as caught:
        space(search=[search])
    assert caught.value.do == "Add --search method=full,lora, or --fix method=lora."


def test_a_method_that_was_fixed_is_named_with_what_takes_its_place():
    with pytest.raises(UsageError) as caught:
        space(["method=full"], ["quantization"])
    assert caught.value.do.endswith("or --fix method=lora, in place of --fix method=full.")


@pytest.mark.parametrize("search", ["method", "method=full,lora", "method=full"])
def test_full_training_of_a_quantised_base_is_refused(search):
    with pytest.raises(UsageError, match="method=full would never be tried") as caught:
        space(["quantization=nf4"], [search])
    assert "--search quantization=none,nf4" in caught.value.do


def test_what_is_advised_is_taken():
    for fix, search in (([], ["method=full,lora"]), (["method=lora"], [])):
        found = space(fix, ["quantization=none,nf4", *search])
        assert {arm[QUANTIZATION] for arm in found.arms()} == {"none", "nf4"}


def test_usual_values_of_which_one_is_left_are_refused():
    wish = Wishes({}, {QUANTIZATION: ("none", "int8", "nf4")}, frozenset({QUANTIZATION}))
    workload = Workload(Model("m", "hub/m", "causal", {"model_type": "llama"}))
    with pytest.raises(UsageError, match="quantization=int8"):
        build_space(workload, ("bf16",), 8, wish)
    found = build_space(workload, ("bf16",), 8, Wishes({METHOD: "lora"}, wish.search, wish.usual))
    assert len({arm[QUANTIZATION] for arm in found.arms()}) == 3
