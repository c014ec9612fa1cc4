"""Parts side by side on the cards of a host."""

import os
import zipfile

import pytest

from autobatch.machine.gpus import Gpu
from benchmarks import gpu_cards
from benchmarks.common import Deadline
from benchmarks.gpu_parts import PARTS, Part


def test_the_longest_parts_go_to_the_cards_with_least_to_do():
    parts = {name: Part((), wanted, 0.0) for name, wanted in {"a": 10, "b": 40, "c": 30, "d": 20}.items()}

    assert gpu_cards.shared(parts, 2) == [["b", "a"], ["c", "d"]]
    assert gpu_cards.shared(parts, 5) == [["b"], ["c"], ["d"], ["a"], []]


def test_every_card_has_cores_of_its_own(monkeypatch):
    monkeypatch.setattr(gpu_cards, "first_sibling", lambda core: core)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(2, 12)))
    assert gpu_cards.cores_of(3) == [{2, 3, 4}, {5, 6, 7}, {8, 9, 10}]
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {5})
    assert gpu_cards.cores_of(2) == [{5}, {5}]


def test_cards_do_not_share_a_physical_core(monkeypatch):
    monkeypatch.setattr(gpu_cards, "first_sibling", lambda core: core % 4)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    assert gpu_cards.cores_of(2) == [{0, 4, 1, 5}, {2, 6, 3, 7}]


@pytest.mark.parametrize(("text", "first"), [("2,10\n", 2), ("2-3\n", 2), ("7\n", 7), ("\n", 7), (None, 7)])
def test_the_threads_of_a_physical_core_are_known_by_the_first(tmp_path, text, first):
    if text is not None:
        (tmp_path / "cpu7/topology").mkdir(parents=True)
        (tmp_path / "cpu7/topology/thread_siblings_list").write_text(text)
    assert gpu_cards.first_sibling(7, tmp_path) == first


@pytest.fixture
def two_cards(monkeypatch):
    cards = [Gpu(i, "NVIDIA H100", f"GPU-{i}", 80 << 30, (9, 0), "580") for i in range(2)]
    monkeypatch.setattr(gpu_cards, "list_gpus", lambda: cards)
    # the driver of this machine, if any, knows no such cards: the processes below see what they are given
    monkeypatch.setattr(gpu_cards, "START_S", 0.0)


@pytest.mark.usefixtures("two_cards")
def test_each_card_runs_its_own_and_all_is_kept(tmp_path):
    names = list(PARTS)[:2]

    failed = gpu_cards.run(names, tmp_path / "out", Deadline(60.0))  # too short for any part: each is left out

    assert failed == 2
    with zipfile.ZipFile(tmp_path / "out" / "cards.zip") as kept:
        tables = {name: kept.read(name).decode() for name in kept.namelist() if name.endswith("table.log")}
    assert set(tables) == {"card-0/table.log", "card-1/table.log"}
    assert all("left out" in table for table in tables.values())
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["cards.zip"]
