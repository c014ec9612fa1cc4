import pytest

from autobatch.export.chosen import Chosen
from autobatch.machine import fingerprint
from autobatch.request import Limits
from autobatch.settings import Configuration
from autobatch.verdict import Measurements
from autobatch.workload.spec import Lora, Model, Workload


@pytest.fixture
def workload():
    model = Model("toy", "toy/toy", "causal", {"model_type": "gpt2", "n_layer": 1})
    return Workload(model=model, lora=Lora(r=8, alpha=16), effective_batch=16)


@pytest.fixture
def chosen(workload):
    return Chosen(
        study="학습 #1: two\nlines",
        trial=7,
        configuration=Configuration(
            per_device_train_batch_size=4,
            gradient_accumulation_steps=4,
            precision="bf16",
            gradient_checkpointing=True,
            dataloader_num_workers=3,
            per_device_eval_batch_size=32,
        ),
        measurements=Measurements(step_s=0.5, samples_per_s=32.0, device_peak_used_bytes=18 * 2**30),
        workload=workload,
        machine=fingerprint.read("cpu").to_dict(),
        limits=Limits(device_bytes=24 * 2**30),
        evidence={"trials": 12},
    )


@pytest.fixture
def qlora(chosen):
    from dataclasses import replace

    values = {"method": "lora", "quantization": "nf4", "pytorch_alloc_conf": "expandable_segments:True"}
    return replace(chosen, configuration=chosen.configuration.replace(values))


@pytest.fixture
def inference(chosen):
    from dataclasses import replace

    return replace(chosen, measurements=Measurements(eval_samples_per_s=10.0, device_peak_used_bytes=8 * 2**30))
