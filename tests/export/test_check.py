import json
from dataclasses import replace

import pytest

from autobatch.errors import UsageError
from autobatch.export.check import report
from autobatch.export.frozen import load, save
from autobatch.workload import data
from autobatch.workload.resolve import from_folder
from autobatch.workload.spec import Data


@pytest.fixture
def frozen(tmp_path, chosen):
    def freeze(**changes):
        path = tmp_path / "best.yaml"
        save(replace(chosen, **changes), path)
        return load(path)

    return freeze


def what_matters(found):
    return [difference.name for difference in found if difference.matters]


def test_nothing_matters_where_it_was_frozen(frozen):
    assert what_matters(frozen().check()) == []


def test_another_machine_matters(frozen, chosen):
    libraries = {**chosen.machine["libraries"], "torch": "1.0.0"}
    found = frozen(machine={**chosen.machine, "cores": 999, "libraries": libraries, "python": "3.0"}).check()

    assert set(what_matters(found)) == {"cores", "torch"}
    assert "python" in [difference.name for difference in found]
    assert "! cores: 999 ->" in report("best.yaml", found)


def test_a_machine_that_is_not_known_matters(frozen):
    assert what_matters(frozen(machine={"device": "cpu"}).check()) == ["machine"]


@pytest.mark.parametrize(("name", "value"), [("host_limit_bytes", "x"), ("libraries", [1])])
def test_a_machine_of_another_kind_is_refused(frozen, chosen, name, value):
    file = frozen(machine={**chosen.machine, name: value})

    with pytest.raises(UsageError, match=f"misspells {name} of the machine"):
        file.check()


@pytest.mark.parametrize("path", ["a\0b", "a" * 5000])
def test_paths_that_cannot_be_are_differences(frozen, workload, path):
    model = replace(workload.model, path=path)
    file = frozen(workload=replace(workload, data=Data(path), model=model))

    assert what_matters(file.check()) == ["model", "data"]


def test_data_that_may_not_be_read_are_a_difference(frozen, workload, monkeypatch):
    def forbid(_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(data, "digest", forbid)

    (found,) = frozen(workload=replace(workload, data=Data("data.jsonl"))).check()

    assert (found.name, found.matters) == ("data", True)
    assert "Permission denied" in found.now


def test_no_key_acts_on_the_terminal(frozen):
    file = frozen()
    with file.path.open("a") as text:
        text.write('"\\e]0;mine\\a\\nnext": "\\e[31mred"\n')

    said = report(file.path, load(file.path).check())

    assert "\x1b" not in said
    assert len(said.splitlines()) == 2


def test_an_edit_by_hand_matters(frozen):
    file = frozen()
    text = file.path.read_text().replace("\nbf16: true", "\nbf16: false").replace('"trials": 12', '"trials": 13')
    file.path.write_text(text)

    found = load(file.path).check()

    assert set(what_matters(found)) == {"bf16", "provenance"}


def test_data_that_changed_or_went_matter(frozen, workload, tmp_path):
    path = tmp_path / "data.jsonl"
    path.write_text('{"text": "one"}\n')
    where = Data(str(path), digest=data.digest(path))
    file = frozen(workload=replace(workload, data=where))
    assert what_matters(file.check()) == []

    path.write_text('{"text": "another"}\n')
    assert what_matters(file.check()) == ["data"]

    path.unlink()
    assert what_matters(file.check()) == ["data"]


def test_a_model_that_changed_or_went_matters(frozen, workload, tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    config = {"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], "n_layer": 2, "n_positions": 512}
    (folder / "config.json").write_text(json.dumps(config))
    file = frozen(workload=replace(workload, model=from_folder(folder).model))
    assert what_matters(file.check()) == []

    (folder / "config.json").write_text(json.dumps({**config, "n_layer": 3}))
    assert what_matters(file.check()) == ["model: n_layer"]

    (folder / "config.json").unlink()
    assert what_matters(file.check()) == ["model"]


def test_a_script_is_said_where_its_card_is_not_here(frozen, chosen, workload, tmp_path, monkeypatch):
    def look(command, device):
        raise UsageError(f"{command[0]} finds no {device}.", "Call it elsewhere.")

    monkeypatch.setenv("AUTOBATCH_LOCKS", str(tmp_path / "locks"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setattr("autobatch.probe.script_workload.look", look)
    on_a_card = {**chosen.machine, "device": "cuda:7"}

    found = frozen(machine=on_a_card, workload=replace(workload, script=("train.py",))).check()

    assert "script" in what_matters(found)
