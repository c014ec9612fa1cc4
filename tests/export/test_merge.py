import pytest
import yaml

from autobatch.errors import UsageError
from autobatch.export.merge import merge

SETTINGS = {"per_device_train_batch_size": 4, "bf16": True, "activation_checkpointing": True}
ALIASES = {"gradient_checkpointing": "activation_checkpointing", "group_by_length": "train_sampling_strategy"}
MINE = """\
# my run 🔥
model_name: "toy"   # quoted, stays
per_device_train_batch_size: 20      # far too large
learning_rate: 1e-4

layers:
  - a
  - b
deep:
    deeper:
        key: 0o17
bf16: false
tail: |
  two
  lines
"""


def changed(merged):
    lines = merged.diff.splitlines()[2:]
    return [line for line in lines if line.startswith(("+", "-"))]


def test_only_the_tuned_keys_change_and_comments_stay():
    merged = merge(MINE, SETTINGS, ALIASES, "mine.yaml")

    assert changed(merged) == [
        "-per_device_train_batch_size: 20      # far too large",
        "+per_device_train_batch_size: 4      # far too large",
        "-bf16: false",
        "+bf16: true",
        "+activation_checkpointing: true",
    ]
    assert yaml.safe_load(merged.text) == {**yaml.safe_load(MINE), **SETTINGS}


def test_merging_twice_changes_nothing_more():
    once = merge(MINE, SETTINGS, ALIASES, "mine.yaml")

    twice = merge(once.text, SETTINGS, ALIASES, "mine.yaml")

    assert twice.text == once.text
    assert twice.diff == ""


def test_keys_are_changed_in_the_section_where_they_stand():
    text = "model:\n  name: toy\ntraining:\n  per_device_train_batch_size: 20\n  # next\n  lr: 0.1\n"

    merged = merge(text, SETTINGS, ALIASES, "mine.yaml")

    assert yaml.safe_load(merged.text) == {"model": {"name": "toy"}, "training": {"lr": 0.1, **SETTINGS}}
    assert "# next" in merged.text


def test_an_older_spelling_is_changed_and_said():
    text = "per_device_train_batch_size: 1\ngradient_checkpointing: false\ngroup_by_length: true\n"

    merged = merge(text, {**SETTINGS, "train_sampling_strategy": "random"}, ALIASES, "mine.yaml")

    assert yaml.safe_load(merged.text) == {
        "per_device_train_batch_size": 4,
        "gradient_checkpointing": True,
        "group_by_length": False,
        "bf16": True,
    }
    assert [remark for remark in merged.remarks if "gradient_checkpointing is an older spelling" in remark]


def test_a_misspelt_key_is_said_and_left():
    text = "per_device_train_batchsize: 20\ngradient_checkpointing_kwargs: {}\n"

    merged = merge(text, SETTINGS, ALIASES, "mine.yaml")

    assert merged.remarks == (
        "The key per_device_train_batchsize is unknown; per_device_train_batch_size was meant? It was left as it is.",
    )
    assert yaml.safe_load(merged.text)["per_device_train_batchsize"] == 20


def test_line_ends_stay():
    merged = merge("a: 1\r\nbf16: false # c\r\n", {"bf16": True}, {}, "mine.yaml")

    assert merged.text == "a: 1\r\nbf16: true # c\r\n"


@pytest.mark.parametrize(
    "text",
    [
        "bf16:\n",
        "bf16: false",
        "{}",
        "{a: 1}\n",
        "training: {bf16: false}\n",
        "bf16: false # last\n# end\n",
        "a: |+\n  x\n\n",
        "a:\n- 1\n- 2\n# of the next\nb: 2\n",
        "---\na: 'x'\n...\n",
        "names:\n  - old # why\n  # more\nb: 2\n",
    ],
)
def test_every_shape_of_file_takes_the_keys(text):
    settings = {"bf16": True, "names": ["x", "y: z"], "mixed": "no"}

    merged = merge(text, settings, {}, "mine.yaml").text

    before, after = yaml.safe_load(text), yaml.safe_load(merged)
    before, after = before.get("training", before), after.get("training", after)
    assert after == {**before, **settings}
    assert merge(merged, settings, {}, "mine.yaml").diff == ""
    assert all(line in merged for line in text.splitlines() if line.startswith("#"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- 1\n- 2\n", "no mapping"),
        ("", "no mapping"),
        ("a: [1\n", "mine.yaml, line"),
        ("a: 1\na: 2\n", "there twice"),
        ("one: {bf16: true}\ntwo: {bf16: true}\n", "several places: one, two"),
        ("a: !!python/object/apply:os.system [ls]\n", "is not read here"),
    ],
)
def test_files_that_cannot_be_merged_are_refused(text, said):
    with pytest.raises(UsageError, match=said):
        merge(text, SETTINGS, ALIASES, "mine.yaml")
