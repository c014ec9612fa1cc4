import pytest

from autobatch.errors import UsageError
from autobatch.estimate import cards
from autobatch.units import GIB


@pytest.mark.parametrize("name", cards.names())
def test_every_card_is_whole(name):
    card = cards.find(name)
    assert 4 * GIB < card.memory_bytes < 200 * GIB
    assert set(card.tflops) == {"fp16", "bf16", "tf32", "fp32"}
    assert card.tflops["fp16"] >= card.tflops["fp32"]
    assert 1e11 < card.bandwidth_bytes_s < 1e13


def test_the_cards_of_the_guides_are_there():
    wanted = {"rtx-3080", "rtx-3090", "rtx-4090", "v100-16", "v100-32", "a100-40", "a100-80", "t4", "l4", "a10", "h100"}
    assert wanted <= set(cards.names())


@pytest.mark.parametrize("text", ["RTX 3090", "rtx3090", "GeForce RTX 3090", "NVIDIA GeForce RTX 3090"])
def test_spelling_does_not_matter(text):
    assert cards.find(text).name == "rtx-3090"


def test_a_size_is_a_card_too():
    card = cards.find("24GiB")
    assert card.memory_bytes == 24 * GIB
    assert card.supports("bf16")


def test_a_v100_has_no_bf16():
    assert not cards.find("v100-16").supports("bf16")
    assert cards.find("v100-16").supports("fp16")


def test_an_unknown_card_names_the_nearest():
    with pytest.raises(UsageError) as caught:
        cards.find("rtx-3099")
    assert "rtx-3090" in caught.value.do


@pytest.mark.parametrize("text", ["", "0GiB", "-3GiB", "banana", "🦆"])
def test_nonsense_is_refused(text):
    with pytest.raises(UsageError):
        cards.find(text)


@pytest.mark.parametrize(
    ("name", "gib", "expected"),
    [
        ("NVIDIA H100 80GB HBM3", 79.6, "h100"),
        ("NVIDIA GeForce RTX 3090", 24, "rtx-3090"),
        ("NVIDIA A100-SXM4-40GB", 39.5, "a100-40"),
        ("NVIDIA A100-SXM4-80GB", 79.2, "a100-80"),
        ("Tesla V100-SXM2-16GB", 15.8, "v100-16"),
        ("Tesla V100-PCIE-32GB", 31.7, "v100-32"),
        ("Tesla T4", 14.6, "t4"),
        ("NVIDIA A100 80GB PCIe", 79.2, "a100-80"),
        ("NVIDIA A10", 22.1, "a10"),
        ("NVIDIA H100 NVL", 93.1, "h100"),
        ("NVIDIA H200", 139.7, "h200"),
        ("NVIDIA L4", 22, "l4"),
        ("NVIDIA L40S", 44.4, "l40s"),
        ("NVIDIA RTX A6000", 47.4, "rtx-a6000"),
        ("NVIDIA GeForce RTX 2080 Ti", 10.7, "rtx-2080-ti"),
        ("NVIDIA GeForce RTX 4090", 23.5, "rtx-4090"),
    ],
)
def test_a_driver_s_name_finds_the_card(name, gib, expected):
    assert cards.of_device(name, round(gib * 2**30)).name == expected


@pytest.mark.parametrize(
    "name",
    [
        "NVIDIA L40",
        "NVIDIA T400 4GB",
        "NVIDIA A1000",
        "NVIDIA A10G",
        "NVIDIA GH200 480GB",
        "NVIDIA RTX 6000 Ada Generation",
        "NVIDIA GeForce RTX 3080 Ti",
        "NVIDIA GeForce RTX 4080 SUPER",
        "NVIDIA GeForce RTX 4090 Laptop GPU",
        "NVIDIA A100-SXM4-40GB MIG 1g.5gb",
        "GRID A100-10C",
    ],
)
def test_a_card_called_much_alike_is_another(name):
    assert cards.of_device(name, 2**34) == cards.Card(name, name, 2**34, {})


def test_a_card_nobody_knows_has_its_size():
    assert cards.of_device("Radeon Pro", 2**34) == cards.Card("Radeon Pro", "Radeon Pro", 2**34, {})
