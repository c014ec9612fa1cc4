"""What a script's arguments become, without a Trainer."""

from dataclasses import dataclass

import pytest
from transformers import TrainingArguments

from autobatch.arguments import renew
from autobatch.probe.script_patch import Overlay, under_test
from autobatch.request import Limits, Plan, ProbeRequest
from autobatch.settings import Configuration
from autobatch.workload.spec import Model, Workload


@dataclass
class Own(TrainingArguments):
    """Arguments whose class changes them, once."""

    times: int = 0

    def __post_init__(self):
        super().__post_init__()
        self.gradient_accumulation_steps = 32
        self.times += 1


@pytest.fixture
def overlay(tmp_path):
    request = ProbeRequest(
        Workload(Model("script", "script", "causal")),
        Configuration(gradient_accumulation_steps=2, gradient_checkpointing=True, dataloader_num_workers=0),
        Plan(),
        Limits(),
        "cpu",
        str(tmp_path),
    )
    return Overlay(under_test(request))


def test_what_is_changed_later_is_set_again_as_it_was_validated(overlay, tmp_path):
    arguments = TrainingArguments(output_dir=str(tmp_path))
    overlay.lay(arguments)
    arguments.__post_init__()
    overlay.keep(arguments)
    before = arguments.to_dict()
    arguments.gradient_accumulation_steps, arguments.report_to = 64, ["wandb"]

    overlay.restore(arguments)

    assert arguments.to_dict() == before


def test_what_a_class_of_its_own_changes_it_changes_once_and_not_what_is_under_test(overlay, tmp_path):
    arguments = Own(output_dir=str(tmp_path))

    overlay.lay(arguments)
    renew(arguments)

    assert arguments.times == 1
    assert arguments.gradient_accumulation_steps == 2


def test_how_activations_are_computed_again_is_left_to_the_script(overlay, tmp_path):
    arguments = TrainingArguments(output_dir=str(tmp_path), activation_checkpointing_kwargs={"use_reentrant": True})

    overlay.lay(arguments)

    assert arguments.activation_checkpointing
    assert arguments.activation_checkpointing_kwargs == {"use_reentrant": True}


def test_without_workers_a_script_s_own_loader_of_workers_is_none(overlay, tmp_path):
    own = {"dataloader_num_workers": 4, "dataloader_prefetch_factor": 8, "dataloader_persistent_workers": True}
    arguments = TrainingArguments(output_dir=str(tmp_path), **own)

    overlay.lay(arguments)
    renew(arguments)

    assert arguments.dataloader_num_workers == 0
    assert arguments.dataloader_prefetch_factor is None
    assert arguments.dataloader_persistent_workers is False


@pytest.mark.parametrize("is_there", [True, False])
def test_the_folder_for_output_is_there_where_the_person_s_own_is(overlay, tmp_path, is_there):
    own = tmp_path / "out"
    if is_there:
        own.mkdir()
    arguments = TrainingArguments(output_dir=str(own))

    overlay.lay(arguments)

    assert arguments.output_dir == str(tmp_path / "trainer")
    assert (tmp_path / "trainer").is_dir() is is_there
