import sys

import pytest

from benchmarks import plan, replay

HEADER = "model,status,source_length,target_length\n"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "recorded").mkdir()
    (tmp_path / "recorded" / "h100-kobart.csv").write_text(HEADER)
    (tmp_path / "cases.yaml").write_text("cases:\n- {model: kobart, card_gib: 24, effective_batch: 16}\n")
    return tmp_path


def refused(run, capsys) -> str:
    with pytest.raises(SystemExit) as caught:
        run()
    assert caught.value.code == 2
    return capsys.readouterr().err.splitlines()[-1]


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--surfaces none --cases cases.yaml", "none is not a folder"),
        ("--surfaces empty --cases cases.yaml", "holds no recorded surface"),
        ("--surfaces recorded --cases none.yaml", "there is no file none.yaml"),
        ("--surfaces recorded --cases cases.yaml", "no recorded surface and case of: kobart"),
        ("--surfaces recorded --cases cases.yaml --models t5", "no recorded surface and case of: t5"),
        ("--surfaces recorded --cases cases.yaml --json none/out.json", "in a folder that is not there"),
    ],
)
def test_replay_says_what_is_missing(words, said, capsys):
    assert said in refused(lambda: replay.main(words.split()), capsys)


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--surfaces none", "none is not a folder"),
        ("--surfaces empty", "holds no recorded surface"),
        ("--surfaces recorded --json none/out.json", "in a folder that is not there"),
        ("--surfaces recorded --only t5", "holds a row to judge"),
        ("--surfaces recorded", "holds a row to judge"),
    ],
)
def test_plan_says_what_is_missing(words, said, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["plan", *words.split()])
    assert said in refused(plan.main, capsys)
