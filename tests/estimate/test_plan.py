from dataclasses import replace

import pytest

from autobatch import settings
from autobatch.estimate import cards, memory, plan
from autobatch.workload import presets

KOBART = replace(presets.load("kobart"), effective_batch=8)


@pytest.fixture(scope="module")
def small():
    return plan.plan(KOBART, cards.find("5GiB"))


def used(arm, batch):
    configuration = arm.configuration.replace(per_device_train_batch_size=batch, gradient_accumulation_steps=8 // batch)
    return memory.predict(KOBART, configuration).used_bytes


def test_what_fits_is_within_the_limit_and_the_next_is_not(small):
    limit = cards.find("5GiB").memory_bytes * plan.DEVICE_SHARE
    for arm in small:
        if arm.tight:
            assert used(arm, arm.tight) <= limit
        if arm.tight < 8:
            assert used(arm, 2 * arm.tight or 1) > limit


def test_fits_leaves_room_that_tight_does_not(small):
    just = round(used(small[0], 8) * 1.01 / plan.DEVICE_SHARE)
    arm = plan.plan(KOBART, cards.Card("just", "just", just, {}))[0]
    assert arm.tight == 8
    assert arm.fits == 4


def test_an_arm_that_cannot_fit_says_why():
    arms = plan.plan(presets.load("solar-10.7b"), cards.find("12GiB"))
    full = [arm for arm in arms if arm.configuration[settings.METHOD] == "full"]
    assert full
    assert all(arm.fits == 0 and "GiB at micro-batch 1" in arm.reason for arm in full)


def test_micro_batches_divide_the_effective_batch():
    assert plan.micro_batches(replace(KOBART, effective_batch=12)) == (1, 2, 3, 4, 6, 12)
    assert plan.micro_batches(replace(KOBART, effective_batch=None))[-1] == 256


def test_a_card_without_bf16_plans_fp16_and_fp32():
    precisions = {arm[settings.PRECISION] for arm in plan.arms(cards.find("v100-16"))}
    assert precisions == {"fp16", "fp32"}


def test_a_larger_card_never_fits_less(small):
    larger = plan.plan(KOBART, cards.find("10GiB"))
    assert all(b.fits >= a.fits for a, b in zip(small, larger, strict=True))
