"""What this machine lacks is refused before anything is started."""

import importlib.util
import subprocess
import sys

import pytest

from autobatch.errors import UsageError
from autobatch.job import available
from autobatch.job.available import WORKERS_PER_CORE, held, usable
from autobatch.job.space import build_space, wishes
from autobatch.machine.fingerprint import Fingerprint
from autobatch.machine.gpus import Gpu
from autobatch.settings import (
    ALLOCATOR,
    ATTENTION,
    EXPANDABLE,
    LIGER,
    OPTIM,
    PRECISION,
    QUANTIZATION,
    SETTINGS,
    WORKERS,
)
from autobatch.workload.spec import Model, Workload

CARD = ("fp32", "tf32", "bf16", "fp16")


@pytest.fixture
def installed(monkeypatch):
    """Say which packages there are."""

    def only(*names):
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: object() if name in names else None)

    only()
    return only


def here(fix=(), search=(), device="cuda:0", precisions=CARD):
    return usable(wishes(fix, search, None), precisions, 2, device)


@pytest.mark.parametrize(
    ("value", "package"),
    [
        ("optim=paged_lion_8bit", "bitsandbytes"),
        ("optim=adamw_torch_4bit", "torchao"),
        ("optim=schedule_free_sgd", "schedulefree"),
        ("quantization=nf4", "bitsandbytes"),
        ("attn_implementation=flash_attention_2", "flash_attn"),
        ("use_liger_kernel=true", "liger_kernel"),
    ],
)
@pytest.mark.parametrize("how", ["fix", "search"])
def test_a_package_that_is_missing_is_named(installed, value, package, how):
    with pytest.raises(UsageError, match=f"{package}, which is not installed"):
        here(**{how: [value]})
    installed(package)
    assert getattr(here(**{how: [value]}), how)


@pytest.mark.parametrize("value", ["attn_implementation=flash_attention_2", "use_liger_kernel=true"])
def test_kernels_of_a_card_are_not_for_the_cpu(installed, value):
    installed("flash_attn", "liger_kernel")
    with pytest.raises(UsageError, match="needs a GPU"):
        here([value], device="cpu", precisions=("fp32", "bf16"))


@pytest.mark.parametrize("precision", ["tf32", "fp16"])
def test_a_precision_that_the_device_lacks_is_refused(precision):
    with pytest.raises(UsageError, match="nothing that this device computes") as caught:
        here([f"precision={precision}"], device="cpu", precisions=("fp32", "bf16"))
    assert "fp32, bf16" in caught.value.do


@pytest.mark.parametrize("how", ["fix", "search"])
def test_workers_are_bounded_by_the_cores(how):
    assert getattr(here(**{how: [f"{WORKERS}={2 * WORKERS_PER_CORE}"]}), how)
    with pytest.raises(UsageError, match="more than") as caught:
        here(**{how: [f"{WORKERS}={2 * WORKERS_PER_CORE + 1}"]})
    assert str(2 * WORKERS_PER_CORE) in caught.value.do


@pytest.mark.usefixtures("installed")
def test_a_setting_searched_without_values_is_searched_at_those_there_are():
    found = here(search=[ATTENTION, OPTIM]).search
    assert found == {ATTENTION: ("eager", "sdpa"), OPTIM: ("adamw_torch_fused", "adafactor")}


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("name", [LIGER, QUANTIZATION])
def test_a_setting_with_one_value_left_is_not_searched(name):
    with pytest.raises(UsageError, match="not installed"):
        here(search=[name])


def test_what_is_searched_by_default_keeps_its_values_and_their_order():
    workload = Workload(Model("m", "", "causal"))
    asked = build_space(workload, CARD, 2, here(search=[PRECISION, WORKERS]))
    assert asked.searched == build_space(workload, CARD, 2, here()).searched


def test_the_optimizers_are_those_of_transformers():
    from transformers.training_args import OptimizerNames

    not_here = ("galore", "apollo", "adamw_torch_xla", "adamw_torch_npu")
    theirs = {name.value for name in OptimizerNames if not name.value.startswith(not_here)}
    assert {*SETTINGS[OPTIM].choices, *SETTINGS[OPTIM].accepted} == theirs


def test_every_value_that_needs_a_package_is_one_that_is_accepted():
    for name, value in available._PACKAGES:
        assert value in (*SETTINGS[name].choices, *SETTINGS[name].accepted)


def test_nothing_heavy_is_imported_to_find_out():
    code = (
        "import sys; from autobatch.job.available import usable; from autobatch.job.space import wishes; "
        "usable(wishes(['optim=sgd'], ['attn_implementation'], None), ('fp32',), 2, 'cpu'); "
        "print(*{'torch', 'transformers', 'bitsandbytes'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not done.stdout.strip()


def machine(device="cuda:0", *, wsl2=False, virtual=False):
    gpus = (Gpu(0, "NVIDIA H100", "GPU-a", 80 << 30, (9, 0), "580", virtual),)
    return Fingerprint(device, gpus, 16, 1 << 36, "MemTotal", "v2", "6.8.0", wsl2, "EPYC", "3.12.3")


@pytest.mark.parametrize(
    ("here", "there"), [({}, True), ({"device": "cpu"}, False), ({"wsl2": True}, False), ({"virtual": True}, False)]
)
def test_a_card_gets_segments_that_grow_where_it_can(here, there):
    assert held(wishes([], [], None), machine(**here)).fix == ({ALLOCATOR: EXPANDABLE} if there else {})


def test_a_person_decides_on_the_allocator():
    fixed = held(wishes([f"{ALLOCATOR}=max_split_size_mb:128"], [], None), machine())
    searched = held(wishes([], [ALLOCATOR], None), machine())

    assert fixed.fix == {ALLOCATOR: "max_split_size_mb:128"}
    assert ALLOCATOR not in searched.fix


def test_what_was_given_its_usual_values_is_told_apart():
    found = here(search=["method", "train_sampling_strategy=random"])

    assert (found.search["method"], found.usual) == (("full", "lora"), {"method"})
