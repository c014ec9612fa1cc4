import json
import subprocess
import sys

import pytest
from click.testing import CliRunner

from autobatch.cli.plan import plan
from autobatch.errors import UsageError


def run(*arguments):
    result = CliRunner().invoke(plan, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    return result.output


def test_a_table_for_a_person():
    text = run("--model", "kobart", "--gpu", "rtx-3090", "--ram", "60GiB", "--effective-batch", "4")
    assert "GeForce RTX 3090" in text
    assert "limit 85%" in text
    assert "Host memory by DataLoader workers, limit 48.0 GiB" in text
    assert "lora on nf4" in text


def test_json_holds_every_arm_with_its_parts():
    data = json.loads(run("--model", "kobart", "--gpu", "6GiB", "--effective-batch", "4", "--json"))
    arms = data["cards"][0]["arms"]
    assert len(arms) == 14
    assert data["parameters"] == 123_859_968
    for arm in arms:
        assert sum(arm["parts_at_1"].values()) <= arm["used_bytes_at_1"]
        assert arm["fits"] <= arm["tight"] <= 4


def test_cards_side_by_side():
    text = run("--model", "kobart", "--compare", "rtx-3080,v100-16", "--effective-batch", "2")
    assert "rtx-3080 (10 GiB)" in text
    assert "bf16/fp16" in text


def test_a_method_that_cannot_fit_is_ruled_out_in_words():
    text = run("--model", "kobart", "--gpu", "2.4GiB", "--effective-batch", "1")
    assert "Ruled out: full, in every arm; the smallest needs" in text
    assert "Ruled out: lora," not in text


def test_a_small_ram_is_said_to_be_over():
    assert "(over)" in run("--model", "kobart", "--gpu", "4GiB", "--ram", "2GiB", "--effective-batch", "1")


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("--model", "kobat"), "kobart"),
        (("--model", "kobart", "--gpu", "rtx-3099"), "rtx-3090"),
        (("--model", "kobart", "--compare", ","), "rtx-3090"),
        (("--model", "kobart", "--ram", "much"), "60GB"),
    ],
)
def test_what_is_not_known_names_the_nearest(arguments, word):
    with pytest.raises(UsageError) as caught:
        CliRunner().invoke(plan, arguments, catch_exceptions=False)
    assert word in caught.value.do


def test_no_heavy_library_is_imported():
    code = (
        "import sys\nfrom autobatch.estimate import report\n"
        "report.make('kobart', ['4GiB'], None, 1).to_text()\n"
        "print(sorted({'torch', 'transformers', 'optuna', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
