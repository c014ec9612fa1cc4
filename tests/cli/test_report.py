import json

import pytest
import recorded
from click.testing import CliRunner

from autobatch import attributes
from autobatch.cli import root
from autobatch.errors import UsageError


def run(*arguments: object) -> str:
    result = CliRunner().invoke(root, ["report", *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_text_is_the_answer_and_how_far_to_trust_it(path):
    text = run("--db", path)
    assert "Chosen: micro-batch 8 x accumulation 2" in text
    assert "How far to trust this:" in text


def test_markdown_and_json(path):
    assert run("--db", path, "--markdown").startswith("# llama")
    assert json.loads(run("--db", path, "--json", "--study", recorded.STUDY))["study"] == recorded.STUDY


@pytest.mark.parametrize("older", ["", "<!DOCTYPE html>\n<html><head><title>autobatch: x</title></head></html>"])
def test_the_page_is_written_whole_over_an_older_one(path, tmp_path, older):
    page, link = tmp_path / "report.html", tmp_path / "link.html"
    page.write_text(older)
    page.chmod(0o600)
    link.symlink_to(page)
    assert run("--db", path, "--html", link) == ""
    assert page.read_text().startswith("<!DOCTYPE html>")
    assert page.read_text().rstrip().endswith("</html>")
    assert page.stat().st_mode & 0o777 == 0o600
    assert link.is_symlink()
    assert {file.name for file in tmp_path.iterdir()} == {"report.html", "link.html"}


def test_the_page_replaces_nothing_but_a_page(path, tmp_path):
    notes, database = tmp_path / "notes.txt", tmp_path / "trials.db"
    notes.write_text("mine")
    database.write_bytes(path.read_bytes())
    for file in (notes, database):
        before = file.read_bytes()
        with pytest.raises(UsageError, match="is no report of autobatch"):
            CliRunner().invoke(root, ["report", "--db", str(database), "--html", str(file)], catch_exceptions=False)
        assert file.read_bytes() == before


def test_a_name_that_is_no_utf_8_is_written(tmp_path):
    study = recorded.make(tmp_path / "trials.db")
    study.set_user_attr(attributes.MACHINE, json.dumps({"processor": "half \udcb8"}))
    run("--db", tmp_path / "trials.db", "--html", tmp_path / "report.html")
    assert "half ?" in (tmp_path / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--html", "{folder}/none/report.html"], "Cannot write"),
        (["--html", "{database}/report.html"], "Cannot write .*: Not a directory"),
        (["--html", "{folder}/report.html", "--json"], "--html and --json were given together"),
        (["--markdown", "--json"], "--markdown and --json were given together"),
        (["--study", "another"], "no study 'another'"),
    ],
)
def test_bad_input_is_said(path, tmp_path, arguments, said):
    command = ["report", "--db", str(path), *(text.format(folder=tmp_path, database=path) for text in arguments)]
    with pytest.raises(UsageError, match=said) as caught:
        CliRunner().invoke(root, command, catch_exceptions=False)
    assert caught.value.do
    assert list(tmp_path.iterdir()) == []
