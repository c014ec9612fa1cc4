import json

import pytest
import recorded
from click.testing import CliRunner

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


def test_the_page_is_written_whole_over_an_older_one(path, tmp_path):
    page = tmp_path / "report.html"
    page.write_text("older")
    assert run("--db", path, "--html", page) == ""
    assert page.read_text().startswith("<!DOCTYPE html>")
    assert page.read_text().rstrip().endswith("</html>")
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--html", "{folder}/none/report.html"], "cannot be written"),
        (["--html", "{database}/report.html"], "cannot be written: Not a directory"),
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
