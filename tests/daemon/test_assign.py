import pytest

from autobatch.daemon.assign import Devices, studies_of, taken_by
from autobatch.machine.device import Gpu
from autobatch.store.entry import State

CARDS = [Gpu(i, "card", f"GPU-{i}", 80 << 30, (9, 0), "580") for i in range(2)]


def devices(gpus=(), trouble="", busy=()):
    return Devices(gpus, trouble, lambda identity: f"{identity} is in use" if identity in busy else "")


@pytest.fixture
def item(queue, submit):
    return lambda device: queue.item(submit(device))


def test_without_a_gpu_the_processors_do(item):
    assert devices().choose(item("auto"), {}, {}) == ("cpu", "")


def test_searches_go_side_by_side_one_a_gpu(item):
    assert devices(CARDS).choose(item("auto"), {"cuda:0": 1}, {}) == ("cuda:1", "")
    assert devices(CARDS).choose(item("auto"), {"cuda:0": 1, "cuda:1": 2}, {}) == (
        None,
        "waits: search 2 is at work on cuda:1",
    )


def test_a_device_that_is_asked_for_is_waited_for(item):
    assert devices(CARDS).choose(item("cuda"), {"cuda:0": 7}, {}) == (None, "waits: search 7 is at work on cuda:0")


def test_a_foreground_search_is_named_and_another_card_taken_instead(item):
    assert devices(CARDS, busy={"GPU-0"}).choose(item("auto"), {}, {}) == ("cuda:1", "")
    assert devices(CARDS[:1], busy={"GPU-0"}).choose(item("auto"), {}, {}) == (None, "waits: GPU-0 is in use")
    assert devices(busy={"cpu"}).choose(item("cpu"), {}, {}) == (None, "waits: cpu is in use")


def test_a_search_that_began_on_a_gpu_is_not_moved_to_the_processors(queue, item):
    begun = queue.claim(item("auto"), "cuda:0")
    assert devices().choose(begun, {}, {}) == (None, "waits: no GPU is to be seen here")
    assert devices(trouble="NVML: GPU is lost.").choose(begun, {}, {}) == (None, "waits: NVML: GPU is lost.")


def test_the_processors_work_beside_the_gpus_and_share_the_memory(item):
    on_card, on_cpu = item("auto"), item("cpu")
    assert devices(CARDS).choose(on_cpu, {"cuda:0": 1}, {}) == ("cpu", "")
    assert devices(CARDS).shares([on_card]) == 2
    assert devices(CARDS).shares([on_card, on_cpu]) == 3
    assert devices().shares([on_cpu]) == 1


def test_only_what_is_at_work_takes_a_device(queue, item):
    first = queue.claim(item("cpu"), "cuda:0")
    second = queue.claim(item("cpu"), "cuda:1")
    queue.end(second, State.DONE, "")
    assert taken_by(queue.items()) == {"cuda:0": first.entry_id}


def test_one_study_is_worked_on_by_one_search(queue, submit):
    first, second, other = (queue.item(submit("auto", study=name)) for name in ("a", "a", "b"))
    at_work = studies_of([queue.claim(first, "cuda:0")])
    assert devices(CARDS).choose(second, {"cuda:0": 1}, at_work) == (
        None,
        "waits: search 1 is at work on the same study",
    )
    assert devices(CARDS).choose(other, {"cuda:0": 1}, at_work) == ("cuda:1", "")
