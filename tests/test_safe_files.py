from __future__ import annotations

import json
import os
import time

import pytest
import yaml

from autobatch.errors import UsageError
from autobatch.safe_files import MAX_BYTES, compose_yaml, parse_json, parse_yaml, read_json, read_text, read_yaml

BOMB = "a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\nd: [*c, *c]\n"


def refusal(act, *arguments):
    began = time.monotonic()
    with pytest.raises(UsageError) as caught:
        act(*arguments)
    assert time.monotonic() - began < 5
    assert caught.value.do
    assert "\n" not in caught.value.what
    return caught.value.what


@pytest.fixture
def file(tmp_path):
    def file(content, name="file.yaml"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return file


def test_plain_yaml_is_read_as_pyyaml_reads_it(file):
    text = "a: 1\nb: [1.5, true, null, 'no', text]\nc: {d: 0x10, e: -.inf}\nf: |\n  two\n  lines\n"
    assert read_yaml(file(text)) == yaml.safe_load(text)


def test_what_people_mean_is_read(file):
    assert read_yaml(file("rate: 1e-4\nday: 2024-01-31\nname: '1e-4'\n")) == {
        "rate": 1e-4,
        "day": "2024-01-31",
        "name": "1e-4",
    }


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("a: 1\nb: [1\n", 3, "did not find expected"),
        ("a: 1\nb: 2\na: 3\n", 3, "'a' is there twice"),
        ("a: 1\n2: b\n", 2, "not text"),
        ("a: 1\n? [x]\n: b\n", 2, "not text"),
        ("a: &x 1\nb: *x\n", 2, "alias"),
        (BOMB, 2, "alias"),
        ("a: &a [*a]\n", 1, "alias"),
        ("a: !!python/object/apply:os.system ['true']\n", 1, "is not read here"),
        ("a: !!python/name:os.system\n", 1, "is not read here"),
        ("a: !!binary eA==\n", 1, "is not read here"),
        ("a: !!int x\n", 1, "'x' is no int"),
        ("a: !!bool x\n", 1, "'x' is no bool"),
        ("a: 0x_\n", 1, "is no int"),
        ("<<: {a: 1}\n", 1, "is not read here"),
        ("a: " + "1:" * 50_000 + "1\n", 1, "is no int"),
        ("a: " + "9" * 100_000, 1, "is no int"),
        ("[" * 500, 1, "more than 32 deep"),
        ("- " * 500, 1, "more than 32 deep"),
        ("[" * 100_000, 1, "nest"),  # some builds of the parser have a limit of their own
        ("- " * 100_000, 1, "nest"),
        ("a:\n  - " + "[x," * 40, 2, "more than 32 deep"),
        ("a: [" + "x," * 60_000 + "]", 1, "more than 50,000 values"),
        ("a: 1\n---\nb: 2\n", 2, "another document"),
    ],
)
def test_malformed_yaml_is_refused_with_its_line(file, text, line, said):
    path = file(text)
    what = refusal(read_yaml, path)
    assert what.startswith(f"{path}, line {line}: ")
    assert said in what


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ('{"a": 1,\n "b" 2}', 2, "delimiter"),
        ("[" * 100_000, 1, "more than 32 deep"),
        ('{"a":\n' * 40, 33, "more than 32 deep"),
        ('"' + '\\"' * 200_000, 1, "Unterminated"),
    ],
)
def test_malformed_json_is_refused_with_its_line(file, text, line, said):
    path = file(text, "file.json")
    what = refusal(read_json, path)
    assert what.startswith(f"{path}, line {line}: ")
    assert said in what


@pytest.mark.parametrize("text", ['{"a": 1, "a": 2}', "9" * 5000, '{"a": "\\ud800"}', "[1]", "null", ""])
def test_json_that_would_mislead_is_refused(file, text):
    assert "file.json" in refusal(read_json, file(text, "file.json"))


@pytest.mark.parametrize("text", ["", "# nothing\n", "- a\n", "text", "1"])
def test_yaml_that_holds_no_mapping_is_refused(file, text):
    refusal(read_yaml, file(text))


def test_brackets_in_text_are_not_nesting():
    assert parse_json(json.dumps({"a": "[" * 100 + '"\\' + "{" * 100}), "x") == {"a": "[" * 100 + '"\\' + "{" * 100}
    assert parse_yaml("a: '" + "[" * 100 + "'", "x") == {"a": "[" * 100}


def test_depth_is_counted_alike_in_both():
    nested = "[" * 32 + "]" * 32
    assert parse_yaml(nested, "x") == parse_json(nested, "x")
    for parse in (parse_yaml, parse_json):
        assert "deep" in refusal(parse, f"[{nested}]", "x")


def test_files_that_are_no_text_files_are_refused_at_once(tmp_path, file):
    os.mkfifo(tmp_path / "pipe")
    assert "not a regular file" in refusal(read_text, tmp_path / "pipe")
    assert "not a regular file" in refusal(read_text, "/dev/zero")
    assert "directory" in refusal(read_text, tmp_path)
    assert "No such file" in refusal(read_text, tmp_path / "none")
    assert "null byte" in refusal(read_text, "a\0b")
    assert "too long" in refusal(read_text, "x" * 10_000)
    assert "line 2: it is not UTF-8" in refusal(read_text, file(b"a: 1\nb: \xff\n"))
    assert "larger than" in refusal(read_text, file(b"a" * (MAX_BYTES + 1)))


def test_a_byte_order_mark_is_no_part_of_the_text(file):
    assert read_yaml(file("\ufeffa: 1\n")) == {"a": 1}
    assert read_json(file('\ufeff{"a": 1}', "file.json")) == {"a": 1}


def test_the_python_reader_of_yaml_agrees_with_the_c_reader(monkeypatch):
    text = "a: [1, 2.5, {b: 'c'}]\n"
    by_c = parse_yaml(text, "x")
    monkeypatch.delattr(yaml, "CSafeLoader")
    assert parse_yaml(text, "x") == by_c
    assert "line 2" in refusal(parse_yaml, "a: 1\na: 2\n", "x")


def test_a_tree_keeps_aliases_and_their_places():
    root = compose_yaml("a: &x [1]\nb: *x\n<<: {c: 1}\n", "mine.yaml")

    (_, first), (_, second), _ = root.value
    assert first is second
    assert first.start_mark.index == 3


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: !!python/name:os.system\n", "is not read here"),
        ("a: {b: 1, b: 2}\n", "there twice"),
        ("a: *x\n", "undefined alias"),
        ("[" * 40, "nested more than"),
    ],
)
def test_a_tree_is_read_by_the_same_rules(text, said):
    with pytest.raises(UsageError, match=said):
        compose_yaml(text, "mine.yaml")
