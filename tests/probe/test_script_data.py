import pickle
from types import SimpleNamespace

import pytest
from transformers import Trainer

from autobatch.probe import script_data
from autobatch.probe.collate import LoaderClock
from autobatch.probe.order import Cost
from autobatch.probe.script_data import ScriptSamples, indexable
from autobatch.request import Limits, Plan, ProbeRequest
from autobatch.settings import Configuration
from autobatch.workload.spec import Model, Workload


class Weighted(list):
    weight = 2.0


def test_a_stream_becomes_a_list():
    assert indexable(iter(range(5000)))[-1] == script_data.STREAMED - 1
    assert indexable([1, 2]) == [1, 2]


def test_a_data_set_keeps_what_it_knows():
    samples = ScriptSamples(Weighted([1, 2]), None)

    assert samples.weight == 2.0
    assert pickle.loads(pickle.dumps(samples)).weight == 2.0
    assert not hasattr(ScriptSamples([], LoaderClock()), "weight")


@pytest.mark.parametrize(("purpose", "made"), [("probe", 0), ("eval", 50)])
def test_an_evaluation_set_is_looked_through_where_it_is_evaluated(tmp_path, purpose, made):
    class Counted(list):
        asked = 0

        def __getitem__(self, index):
            self.asked += 1
            return super().__getitem__(index)

    rows = Counted([{"input_ids": [1]}] * 50)
    request = ProbeRequest(
        Workload(Model("script", "script", "causal")),
        Configuration(per_device_eval_batch_size=4),
        Plan(purpose),
        Limits(),
        "cpu",
        str(tmp_path / "1"),
    )
    trainer = SimpleNamespace(eval_dataset=rows, model=None)

    found = script_data._evaluation(request, trainer, Cost(1.0, 1.0), pads=True)

    assert rows.asked == made
    assert len(found) == (4 if purpose == "probe" else 12)


@pytest.mark.parametrize(("strategy", "drawn"), [("sequential", [0, 1, 2]), ("random", None)])
def test_samples_in_their_own_order_are_drawn_so(strategy, drawn):
    class Library:
        train_dataset = (5, 6, 7)
        _get_train_sampler = Trainer._get_train_sampler

    request = SimpleNamespace(configuration=Configuration(train_sampling_strategy=strategy))

    found = script_data._sampler(request, Library())

    assert (found if found is None else list(found)) == drawn
