import json

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


def test_a_section_inside_the_file_is_not_ours():
    text = "dir: out\ndeepspeed:\n  zero: {stage: 2}\n  bf16: false\n  # next\nfsdp: {activation_checkpointing: no}\n"

    merged = merge(text, SETTINGS, ALIASES, "mine.yaml")

    assert yaml.safe_load(merged.text) == {**yaml.safe_load(text), **SETTINGS}
    assert [line[0] for line in changed(merged)] == ["+"] * 3
    assert merged.remarks == (
        "The section deepspeed has bf16 of its own: left as it is.",
        "The section fsdp has activation_checkpointing of its own: left as it is.",
    )


def test_an_older_spelling_is_replaced_and_said():
    text = "per_device_train_batch_size: 1\ngradient_checkpointing: false # why\ngroup_by_length: true\n"

    merged = merge(text, {**SETTINGS, "train_sampling_strategy": "random"}, ALIASES, "mine.yaml")

    assert yaml.safe_load(merged.text) == {**SETTINGS, "train_sampling_strategy": "random"}
    assert "activation_checkpointing: true # why\n" in merged.text
    assert (
        "gradient_checkpointing is another spelling of activation_checkpointing, which replaces it." in merged.remarks
    )


@pytest.mark.parametrize("end", ["", "\n", "\n# end\n", "\nx: 1\n"])
def test_an_older_spelling_beside_the_key_is_taken_out(end):
    text = f"activation_checkpointing: true\ngradient_checkpointing: false{end}"

    merged = merge(text, SETTINGS, ALIASES, "mine.yaml")

    assert "gradient_checkpointing" not in yaml.safe_load(merged.text)
    assert yaml.safe_load(merged.text).items() >= SETTINGS.items()
    assert "it was taken out" in merged.remarks[0]
    assert "# end" in merged.text or "# end" not in end


def test_keys_that_work_against_the_tuned_ones_are_said_and_left():
    text = "auto_find_batch_size: true\nquiet: false\nbf16: true\n"
    rivals = {
        "auto_find_batch_size": "it changes the micro-batch",
        "quiet": "?",
        "bf16": "?",
        "gradient_checkpointing": "?",
    }

    merged = merge(text, SETTINGS, ALIASES, "mine.yaml", rivals)

    assert merged.remarks == ("auto_find_batch_size is set, and it changes the micro-batch. It was left as it is.",)
    assert "auto_find_batch_size: true\n" in merged.text


def test_what_needs_workers_is_turned_off_without_them():
    text = "dataloader_prefetch_factor: 8\ndataloader_persistent_workers: true\n"

    with_workers = merge(text, {"dataloader_num_workers": 2}, {}, "mine.yaml")
    without = merge(text, {"dataloader_num_workers": 0}, {}, "mine.yaml")

    assert yaml.safe_load(with_workers.text)["dataloader_prefetch_factor"] == 8
    assert yaml.safe_load(without.text) == {
        "dataloader_prefetch_factor": None,
        "dataloader_persistent_workers": False,
        "dataloader_num_workers": 0,
    }
    assert len(without.remarks) == 2


@pytest.mark.parametrize(
    "text",
    [
        "base: &b {x: 1}\nother: *b\nbf16: false\n",
        "base: &b {x: 1, bf16: false}\n<<: *b\n",
        "bf16: false\nname: &n toy\nlast: *n # why\n",
        "{name: &n toy, last: *n}\n",
        "bf16: &unused false\n",
        "bf16: &x true\nsame: *x\n",
        "one: &a [*a]\n",
    ],
)
def test_aliases_elsewhere_stay(text):
    merged = merge(text, SETTINGS, ALIASES, "mine.yaml")

    after = yaml.safe_load(merged.text)
    assert after.items() >= SETTINGS.items()
    assert all(str(after[key]) == str(value) for key, value in yaml.safe_load(text).items() if key not in SETTINGS)
    assert merge(merged.text, SETTINGS, ALIASES, "mine.yaml").diff == ""


def test_aliases_that_would_grow_without_end_are_not_followed():
    lines = ["a0: &a0 [x, x]"] + [f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]" for i in range(1, 60)]

    merged = merge("\n".join(lines), SETTINGS, ALIASES, "mine.yaml", {"a59": "it is large"})

    assert merged.text.startswith("\n".join(lines))


@pytest.mark.parametrize(
    "text",
    ["bf16: &x false\nother: *x\n", "other: &x false\nbf16: *x\n", "a: &x 1\n? &k group_by_length\n: *x\nb: *k\n"],
)
def test_a_value_tied_to_another_is_not_changed(text):
    with pytest.raises(UsageError, match="alias ties"):
        merge(text, {**SETTINGS, "train_sampling_strategy": "random"}, ALIASES, "mine.yaml")


@pytest.mark.parametrize(
    "text", ["", "\n", "# mine", "# mine\n", "---\n# mine\n", "--- # mine", "---\n...\n", "# a\r\n"]
)
def test_an_empty_file_takes_the_keys(text):
    merged = merge(text, SETTINGS, ALIASES, "mine.yaml")

    assert yaml.safe_load(merged.text) == SETTINGS
    assert all(line in merged.text for line in text.splitlines())


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
        "{a: 1,}\n",
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
    assert after == {**before, **settings}
    assert merge(merged, settings, {}, "mine.yaml").diff == ""
    assert all(line in merged for line in text.splitlines() if line.startswith("#"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- 1\n- 2\n", "no mapping"),
        ("''\n", "no mapping"),
        ("a: [1\n", "mine.yaml, line"),
        ("? bf16\n: false\n? a\n: 1", "cannot be merged into"),
        ("a: 1\na: 2\n", "there twice"),
        ("&a one: 1\n*a : 2\n", "there twice"),
        ("x: &a one\n*a : 2\n", "alias for a key"),
        ("a: !!python/object/apply:os.system [ls]\n", "is not read here"),
    ],
)
def test_files_that_cannot_be_merged_are_refused(text, said):
    with pytest.raises(UsageError, match=said):
        merge(text, SETTINGS, ALIASES, "mine.yaml")


@pytest.mark.parametrize("text", ["{}", '{"dir": "out"}', '{"bf16": false, "gradient_checkpointing": false}'])
def test_json_stays_json(text):
    merged = merge(text, SETTINGS, ALIASES, "mine.json")

    mine = {key: value for key, value in json.loads(text).items() if key not in ALIASES}
    assert json.loads(merged.text) == {**mine, **SETTINGS}


def test_json_of_a_line_each_gets_a_line_each():
    text = '{\n  "dir": "out",\n  "bf16": false\n}\n'

    merged = merge(text, SETTINGS, ALIASES, "mine.json")

    assert merged.text == (
        '{\n  "dir": "out",\n  "bf16": true,\n'
        '  "per_device_train_batch_size": 4,\n  "activation_checkpointing": true\n}\n'
    )


def test_json_that_yaml_does_not_read_is_merged_into():
    text = '{\n\t"bf16": false,\n\t"note": "\\ud83d\\ude00 \\\\ud83d",\n\t"lr": 2e-5\n}\n'

    merged = merge(text, SETTINGS, ALIASES, "mine.json").text

    assert json.loads(merged) == {"note": "\U0001f600 \\ud83d", "lr": 2e-5, **SETTINGS}
    assert '\t"note": "\\ud83d\\ude00 \\\\ud83d",\n' in merged
