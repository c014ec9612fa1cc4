from __future__ import annotations

import json

from click.testing import CliRunner

from autobatch.cli.models import command
from autobatch.errors import UsageError
from autobatch.workload import presets
from autobatch.workload.spec import Workload


def test_the_list_names_every_preset_with_its_figures():
    done = CliRunner().invoke(command)
    lines = done.output.splitlines()
    assert [line.split()[0] for line in lines] == ["preset", *presets.names()]
    (solar,) = [line for line in lines if line.startswith("solar")]
    assert "10,731,524,096  lora on nf4  1024" in solar


def test_one_preset_is_printed_as_its_file():
    done = CliRunner().invoke(command, ["KULLM_v2"])
    assert done.output == (presets.FOLDER / "kullm-v2.yaml").read_text()


def test_json_is_whole_workloads():
    done = CliRunner().invoke(command, ["--json"])
    found = [Workload.from_dict(data) for data in json.loads(done.output)]
    assert found == [presets.load(name) for name in presets.names()]


def test_an_unknown_one_is_an_error_that_names_the_nearest():
    done = CliRunner().invoke(command, ["kobrat"])
    assert isinstance(done.exception, UsageError)
    assert "kobart" in done.exception.do
