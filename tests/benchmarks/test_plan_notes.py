from pathlib import Path

import pytest
import yaml

from autobatch.estimate import cards, shapes
from benchmarks import plan_notes

NOTES = yaml.safe_load(plan_notes.NOTES.read_text())
ROWS = [row for table in NOTES["tables"] for row in table["rows"]]
DOCUMENT = (Path(__file__).parents[2] / "docs" / "plan-and-field-notes.md").read_text()


@pytest.mark.parametrize(("name", "millions"), [("t5-small", 60.5), ("t5-base", 222.9), ("t5-large", 737.7), ("mt5-xl", 3742.6)])  # fmt: skip  # noqa: E501 - one table
def test_shapes_of_the_notes_have_the_published_counts(name, millions):
    row = next(row for row in ROWS if row["model"] == name)
    workload = plan_notes.workload_of(row, NOTES["shapes"])
    assert shapes.read(workload.model).parameters / 1e6 == pytest.approx(millions, abs=0.1)


def test_every_row_names_a_known_card_and_model_and_is_documented():
    for row in ROWS:
        assert cards.find(row["card"])
        assert plan_notes.workload_of(row, NOTES["shapes"]).lengths.source[-1] == row["tokens"][0]
        assert f"| {row['card']} | {row['model']} | {row['method']}, {row['precision']} |" in DOCUMENT


def test_a_line_in_the_document_is_what_the_command_writes():
    row = next(row for row in ROWS if row["model"] == "t5-small")
    assert plan_notes.line(row, NOTES["shapes"]) in DOCUMENT
