import json

import pytest
from click.testing import CliRunner

from autobatch.cli.check import check, verify
from autobatch.errors import AutobatchError, UsageError
from autobatch.export import verify as verification
from autobatch.export.chosen import Chosen
from autobatch.export.frozen import save
from autobatch.machine import fingerprint
from autobatch.settings import Configuration
from autobatch.verdict import Kind, Measurements, Verdict
from autobatch.workload.spec import Model, Workload


@pytest.fixture
def file(tmp_path):
    machine = fingerprint.read("cpu").to_dict()
    workload = Workload(Model("toy", "toy/toy", "causal", {"model_type": "gpt2"}))
    path = tmp_path / "best.yaml"
    save(Chosen("toy", 1, Configuration(), Measurements(step_s=1.0), workload, machine), path)
    return path


def test_a_file_that_holds_is_0(file):
    result = CliRunner().invoke(check, [str(file)])

    assert result.exit_code == 0
    assert "holds here" in result.output


def test_a_file_that_does_not_hold_is_1(file):
    file.write_text(file.read_text().replace("per_device_train_batch_size: 1", "per_device_train_batch_size: 64", 1))

    result = CliRunner().invoke(check, [str(file), "--json"])

    assert result.exit_code == 1
    data = json.loads(result.output)
    assert data["holds"] is False
    assert data["differences"][0]["name"] == "per_device_train_batch_size"


@pytest.mark.parametrize("command", [check, verify])
def test_another_file_is_a_usage_error(tmp_path, command):
    path = tmp_path / "mine.yaml"
    path.write_text("a: 1\n")

    result = CliRunner().invoke(command, [str(path)])

    assert isinstance(result.exception, UsageError)
    assert result.exception.exit_code == 2


@pytest.mark.parametrize(("step_s", "code"), [(1.0, 0), (2.0, 1)])
def test_verify_says_whether_the_promise_is_kept(file, monkeypatch, step_s, code):
    def measured(frozen, seconds, device):
        assert (seconds, device) == (30, None)
        now = Verdict(Kind.OK, Measurements(step_s=step_s))
        return verification.Verification(now, tuple(verification._comparisons(frozen, now)))

    monkeypatch.setattr(verification, "verify", measured)

    text = CliRunner().invoke(verify, [str(file), "--minutes", "0.5"])
    data = CliRunner().invoke(verify, [str(file), "--minutes", "0.5", "--json"])

    assert text.exit_code == data.exit_code == code
    assert "step_s: promised 1" in text.output
    assert json.loads(data.output)["holds"] is (code == 0)


def test_verify_says_that_an_edit_is_not_what_it_runs(file, monkeypatch):
    file.write_text(file.read_text().replace("per_device_train_batch_size: 1", "per_device_train_batch_size: 64", 1))
    now = verification.Verification(Verdict(Kind.OK), ())
    monkeypatch.setattr(verification, "verify", lambda *_: now)

    result = CliRunner().invoke(verify, [str(file)])

    assert "per_device_train_batch_size was edited by hand, 1 -> 64: it is run as it was frozen." in result.output


def test_an_edit_does_not_act_on_the_terminal(file, monkeypatch):
    with file.open("a") as text:
        text.write('"\\e[31mred\\nnext": 1\n')
    monkeypatch.setattr(verification, "verify", lambda *_: verification.Verification(Verdict(Kind.OK), ()))

    result = CliRunner().invoke(verify, [str(file)])

    assert "\ufffd[31mred next was edited by hand, None -> 1: it is run as it was frozen." in result.output


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr(fingerprint.gpus, "list_gpus", list)


@pytest.mark.usefixtures("no_gpu")
@pytest.mark.parametrize("command", [check, verify])
@pytest.mark.parametrize(("device", "code"), [("cuda:0", 3), ("foo", 2)])
def test_a_device_that_is_not_there_is_no_device_that_holds(file, command, device, code):
    result = CliRunner().invoke(command, [str(file), "--device", device])

    assert isinstance(result.exception, AutobatchError)
    assert result.exception.exit_code == code


@pytest.mark.usefixtures("no_gpu")
def test_the_gpu_of_another_machine_is_a_difference(tmp_path):
    machine = {**fingerprint.read("cpu").to_dict(), "device": "cuda:0"}
    card = {"index": 0, "name": "A", "uuid": "GPU-1", "total_bytes": 2**34, "capability": [9, 0], "driver": "1"}
    path = tmp_path / "gpu.yaml"
    workload = Workload(Model("toy", "toy/toy", "causal", {"model_type": "gpt2"}))
    save(Chosen("toy", 1, Configuration(), Measurements(step_s=1.0), workload, {**machine, "gpus": [card]}), path)

    result = CliRunner().invoke(check, [str(path)])

    assert result.exit_code == 1
    assert "! device: cuda:0 -> cpu." in result.output


def test_verify_says_that_the_provenance_was_changed(file, monkeypatch):
    file.write_text(file.read_text().replace('"step_s": 1.0', '"step_s": 9.0'))
    monkeypatch.setattr(verification, "verify", lambda *_: verification.Verification(Verdict(Kind.OK), ()))

    assert "does not match its checksum" in CliRunner().invoke(verify, [str(file)]).output
