import pytest

from autobatch.errors import UsageError
from autobatch.job.space import Wishes, build_space, wishes
from autobatch.settings import CHECKPOINTING, METHOD, MICRO_BATCH, OPTIM, PRECISION, QUANTIZATION, WORKERS
from autobatch.workload.spec import Model, Workload


def workload(model_type="llama", **more):
    return Workload(Model("m", "hub/m", "causal", {"model_type": model_type}), effective_batch=48, **more)


NO_WISHES = Wishes()


def space(wish=NO_WISHES, precisions=("fp32", "tf32", "bf16", "fp16"), **more):
    return build_space(workload(**more), precisions, 8, wish)


def test_every_point_of_the_space_keeps_the_effective_batch():
    assert space().micro_batches == (1, 2, 3, 4, 6, 8, 12, 16, 24, 48)
    assert {c.micro_batch * c.accumulation for c in space().grid()} == {48}


def test_what_changes_the_result_is_searched_only_when_asked():
    assert {OPTIM, METHOD, QUANTIZATION}.isdisjoint(space().searched)
    asked = space(wishes([], ["optim"], None))
    assert "adafactor" in asked.searched[OPTIM]


def test_fp16_is_left_out_for_t5_unless_it_is_all_there_is():
    assert "fp16" not in space(model_type="t5").searched[PRECISION]
    assert space(precisions=("fp16",), model_type="t5").searched[PRECISION] == ("fp16",)


def test_fixed_settings_leave_the_search():
    found = space(wishes(["precision=bf16", "gradient-checkpointing=no", "method=qlora"], [], None))
    assert PRECISION not in found.searched
    assert {(a[PRECISION], a[CHECKPOINTING], a[METHOD], a[QUANTIZATION]) for a in found.arms()} == {
        ("bf16", False, "lora", "nf4")
    }


def test_a_space_file_and_the_command_line_overlay_in_that_order():
    wish = wishes(["precision=tf32"], [], {"search": {"precision": ["bf16", "fp32"], "dataloader_num_workers": [0, 2]}})
    assert wish.fix == {PRECISION: "tf32"}
    assert wish.search == {WORKERS: (0, 2)}


def test_an_option_wins_over_a_space_file_either_way():
    file = {"fix": {"precision": "tf32"}, "search": {"gradient_checkpointing": [False, True]}}
    wish = wishes(["gradient_checkpointing=yes"], ["precision=bf16,fp32"], file)
    assert wish.fix == {CHECKPOINTING: True}
    assert wish.search == {PRECISION: ("bf16", "fp32")}


@pytest.mark.parametrize(
    ("fix", "search", "what"),
    [
        ("precision=bf16", "precision", "precision is fixed and searched"),
        ("gradient-checkpointing=no", "gradient_checkpointing=no,yes", "gradient_checkpointing is fixed"),
        ("method=qlora", "quantization", "quantization is fixed and searched"),
    ],
)
def test_options_that_fix_and_search_one_setting_contradict_each_other(fix, search, what):
    with pytest.raises(UsageError, match=what):
        wishes([fix], [search], None)


def test_quantised_full_training_is_not_in_the_space():
    found = space(wishes([], ["quantization", "method"], None))
    assert all(a[METHOD] == "lora" for a in found.arms() if a[QUANTIZATION] != "none")
    with pytest.raises(UsageError, match="do not go together"):
        space(wishes(["quantization=nf4", "method=full"], [], None))


@pytest.mark.parametrize(
    ("fix", "search", "file", "what"),
    [
        (["precison=bf16"], [], None, "no setting 'precison'"),
        (["precision=bf17"], [], None, "cannot be 'bf17'"),
        (["precision"], [], None, "has no value"),
        ([f"{MICRO_BATCH}=0"], [], None, "cannot be '0'"),
        (["gradient_accumulation_steps=2"], [], None, "follows from"),
        ([f"{MICRO_BATCH}={'9' * 5000}"], [], None, "cannot be '9999"),
        ([f"{MICRO_BATCH}=9999999"], [], None, "cannot be '9999999'"),
        (["optim=nonsense"], [], None, "cannot be 'nonsense'"),
        ([], ["optim="], None, "cannot be ''"),
        (["method=qlora", "quantization=int8"], [], None, "quantization is fixed at nf4 and at int8"),
        (["quantization=int8", "method=qlora"], [], None, "quantization is fixed at int8 and at nf4"),
        (["attn_implementation=nonsense"], [], None, "cannot be 'nonsense'"),
        ([], ["dataloader_num_workers=-1"], None, "cannot be '-1'"),
        ([], [], {"fixx": {}}, "'fixx'"),
        ([], [], {"fix": {"optim": ["a", "b"]}}, "2 values"),
    ],
)
def test_a_wrong_wish_says_what_is_wrong(fix, search, file, what):
    with pytest.raises(UsageError, match=what):
        wishes(fix, search, file)


def test_a_value_misspelt_is_told_the_nearest():
    with pytest.raises(UsageError) as caught:
        wishes(["optim=paged_lion8bit"], [], None)
    assert caught.value.do == "Did you mean paged_lion_8bit?"


def test_a_micro_batch_that_does_not_divide_names_those_that_do():
    with pytest.raises(UsageError, match="does not divide") as caught:
        space(wishes([f"{MICRO_BATCH}=5"], [], None))
    assert "1, 2, 3, 4, 6" in caught.value.do


def test_an_effective_batch_must_split_over_the_devices():
    with pytest.raises(UsageError, match="cannot be split"):
        build_space(workload(), ("fp32",), 8, Wishes(), devices=5)


def test_a_freed_effective_batch_keeps_accumulation_at_one():
    freed = build_space(workload().__class__(workload().model, effective_batch=None), ("fp32",), 8, Wishes())
    assert {c.accumulation for c in freed.grid()} == {1}
    assert {32, 48} <= set(freed.micro_batches)


def test_the_same_option_once_more_goes_before_the_first():
    assert wishes(["optim=adafactor", "optim=adamw_8bit"], [], None).fix == {"optim": "adamw_8bit"}
