import pytest

from autobatch.settings import ARM_KEYS, LARGEST_BATCH, SETTINGS, Configuration, SearchSpace, divisors


def test_a_configuration_is_a_value():
    one, two = Configuration(precision="bf16"), Configuration({"precision": "bf16"})
    assert one == two
    assert hash(one) == hash(two)
    assert one.digest == two.digest
    assert one.replace(precision="fp32") != one
    assert one["precision"] == "bf16"


def test_an_unknown_setting_is_refused():
    with pytest.raises(KeyError):
        Configuration(no_such_setting=1)


def test_the_arm_leaves_out_batch_loader_and_eval():
    one = Configuration(per_device_train_batch_size=4, dataloader_num_workers=3, per_device_eval_batch_size=2)
    assert one.arm == Configuration().arm
    assert one.replace(precision="bf16").arm != one.arm
    assert {SETTINGS[name].group for name in ARM_KEYS} == {"device"}


def test_divisors():
    assert divisors(48) == (1, 2, 3, 4, 6, 8, 12, 16, 24, 48)
    assert divisors(1) == (1,)
    for number in (2, 7, 36, 97, 360):
        assert divisors(number) == tuple(n for n in range(1, number + 1) if number % n == 0)


@pytest.mark.parametrize("number", [0, -4, LARGEST_BATCH + 1, 10**23])
def test_divisors_of_no_batch_are_refused_at_once(number):
    with pytest.raises(ValueError, match="is not from 1"):
        divisors(number)


def test_the_grid_is_arms_times_micro_batches():
    space = SearchSpace({"optim": "adafactor"}, {"precision": ("bf16", "fp32")}, effective_batch=4, devices=2)
    assert [(c["precision"], c.micro_batch, c.accumulation) for c in space.grid()] == [
        ("bf16", 1, 2),
        ("bf16", 2, 1),
        ("fp32", 1, 2),
        ("fp32", 2, 1),
    ]
    assert {c["optim"] for c in space.grid()} == {"adafactor"}
