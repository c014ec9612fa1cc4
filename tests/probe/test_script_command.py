import sys
from pathlib import Path

import pytest

import autobatch
from autobatch.errors import UsageError
from autobatch.probe.script_command import Command, parse


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "train.py"
    path.write_text("")
    return str(path)


def test_a_script_and_its_arguments_are_read(script):
    expected = Command("file", script, ("--lr", "1", "-m"))

    assert parse(["python", script, "--lr", "1", "-m"]) == expected
    assert parse(["python3.11", "-u", "-X", "dev", script, "--lr", "1", "-m"]) == expected
    assert parse(["python", "-Wignore", "-uB", "-Xdev", script, "--lr", "1", "-m"]) == expected
    assert parse([sys.executable, script, "--lr", "1", "-m"]) == expected
    assert parse([script, "--lr", "1", "-m"]) == expected


def test_a_module_is_read():
    assert parse(["python", "-m", "accelerated.train"]).program == "accelerated.train"
    assert parse(["python", "-m", "pkg.train", "x"]) == Command("module", "pkg.train", ("x",))


def test_ours_finds_modules_where_the_script_does(tmp_path, monkeypatch):
    own = [sys.executable, "-m", "ours"]
    monkeypatch.chdir(tmp_path)

    assert Command("file", "src/train.py", ()).beside("ours") == [own[0], "-P", *own[1:]]
    assert Command("module", "train", ()).beside("ours") == own
    monkeypatch.chdir(Path(autobatch.__file__).parents[1])
    assert Command("file", "src/train.py", ()).beside("ours") == own


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "no command"),
        (["python"], "names no program"),
        (["python", "-c", "pass"], "names no program"),
        (["python", "missing.py"], "no file missing.py"),
        (["accelerate", "launch", "train.py"], "accelerate starts processes"),
        (["torchrun", "train.py"], "torchrun starts processes"),
        (["python", ".venv/bin/torchrun", "train.py"], "torchrun starts processes"),
        (["python", "-m", "torch.distributed.run", "train.py"], "torch.distributed.run starts processes"),
        (["python", "-m", "accelerate.commands.launch", "train.py"], "accelerate.commands.launch starts processes"),
        (["/nowhere/bin/python", "train.py"], "autobatch runs under"),
    ],
)
def test_what_cannot_run_here_is_said(words, said):
    with pytest.raises(UsageError, match=said):
        parse(words)


@pytest.mark.parametrize(
    ("words", "instead"),
    [
        (["uv", "run", "train.py"], "uv run autobatch search -- python train.py ARGS"),
        (["poetry", "run", "python", "train.py"], "poetry run autobatch search -- python train.py ARGS"),
        (["A_1=b=c d", "python", "train.py"], "A_1=b=c d autobatch search -- python train.py ARGS"),
        (["env", "A=1", "python", "train.py"], "NAME=VALUE autobatch search -- python train.py ARGS"),
    ],
)
def test_what_makes_an_environment_is_to_come_first(words, instead):
    with pytest.raises(UsageError) as refused:
        parse(words)

    assert refused.value.do == f"Write it first: {instead}"


def test_a_script_may_have_any_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lr=3.py").write_text("")

    assert parse(["python", "lr=3.py"]).program == "lr=3.py"
