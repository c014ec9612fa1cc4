from dataclasses import replace

import pytest

from autobatch.estimate.host import predict_host
from autobatch.settings import Configuration
from autobatch.workload import presets

KOBART = presets.load("kobart")


def host(workload=KOBART, **settings):
    return predict_host(workload, Configuration(settings))


def test_parts_sum_to_the_whole():
    found = host(dataloader_num_workers=4)
    assert sum(found.parts.values()) == found.bytes


def test_each_worker_adds_the_same():
    none, some, more = (host(dataloader_num_workers=n).bytes for n in (0, 4, 8))
    assert some - none == more - some > 0


def test_more_data_and_prefetch_cost_more():
    assert host(replace(KOBART, train_samples=1_000_000)).bytes > host().bytes
    assert host(dataloader_num_workers=4, dataloader_prefetch_factor=8).bytes > host(dataloader_num_workers=4).bytes


def test_a_paged_optimizer_lies_on_the_host():
    paged = host(optim="paged_adamw_8bit").bytes - host(optim="adamw_8bit").bytes
    assert paged == pytest.approx(2.03 * 123_859_968, rel=0.01)
