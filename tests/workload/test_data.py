from __future__ import annotations

import csv
import io
import json
import os
import pickle
import tracemalloc
from contextlib import suppress
from unittest.mock import Mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autobatch.errors import UsageError
from autobatch.workload import data, presets, tokens
from autobatch.workload.data import Sample, describe, read, with_data
from autobatch.workload.resolve import from_folder

ROWS = [
    {
        "fname": f"d{i}",
        "dialogue": f'#1: 안녕 {i}, "네"\n#2: 줄 바꿈,{"말 " * i}',
        "summary": "요약 " * (i % 3 + 1),
        "n": i,
    }
    for i in range(20)
]
SAMPLES = [Sample(row["dialogue"], row["summary"]) for row in ROWS]


def as_csv(rows, delimiter=",") -> str:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, rows[0].keys(), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def as_lines(rows) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


FORMS = {
    "a.jsonl": as_lines(ROWS),
    "blank.ndjson": "\n" + as_lines(ROWS).replace("\n", "\n \n"),
    "lines.json": as_lines(ROWS),
    "list.json": json.dumps(ROWS),
    "inner.json": json.dumps({"version": "1", "data": ROWS}, indent=1),
    "columns.json": json.dumps({name: [row[name] for row in ROWS] for name in ROWS[0]}),
    "a.csv": as_csv(ROWS),
    "bom.csv": "\ufeff" + as_csv(ROWS),
    "a.tsv": as_csv(ROWS, "\t"),
    "semicolons.csv": as_csv(ROWS, ";"),
    "bars.csv": '"fname, or #"' + as_csv(ROWS, "|").removeprefix("fname"),
    "A.JSONL": as_lines(ROWS),
}


@pytest.fixture
def file(tmp_path):
    def write(name: str, content: str | bytes):
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


@pytest.mark.parametrize(("name", "content"), FORMS.items())
def test_every_form_holds_the_same_samples(file, name, content):
    samples = read(file(name, content))
    assert (samples.text_column, samples.summary_column) == ("dialogue", "summary")
    assert list(samples) == SAMPLES
    assert [samples[i] for i in range(len(samples))] == SAMPLES
    assert samples[-1] == SAMPLES[-1]
    assert samples[3:5] == SAMPLES[3:5]
    with pytest.raises(IndexError):
        samples[20]


def test_parquet_holds_the_same_samples(tmp_path):
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "a.parquet"
    parquet.write_table(arrow.Table.from_pylist(ROWS), path)
    samples = read(path)
    assert list(samples) == SAMPLES == [samples[i] for i in range(20)]
    categories = arrow.table({name: [str(row[name]) for row in ROWS] for name in ROWS[0]})
    parquet.write_table(arrow.table([column.dictionary_encode() for column in categories.columns], [*ROWS[0]]), path)
    assert list(read(path)) == SAMPLES
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(UsageError, match="no readable Parquet"):
        read(path)


def test_parquet_without_pyarrow_says_how_to_install_it(file, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(UsageError) as caught:
        read(file("a.parquet", b"PAR1"))
    assert "pip install" in caught.value.do


def test_a_folder_of_text(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "two.md").write_text("둘")
    (tmp_path / "a.txt").write_text("one")
    (tmp_path / "c.py").write_text("three = 3")
    (tmp_path / "image.png").write_bytes(b"\xff")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "x.txt").write_text("hidden")
    samples = read(tmp_path)
    assert list(samples) == [Sample("one", None), Sample("둘", None), Sample("three = 3", None)]


def test_samples_can_be_pickled_for_workers_that_are_spawned(file):
    samples = read(file("a.jsonl", FORMS["a.jsonl"]))
    assert list(pickle.loads(pickle.dumps(samples))) == SAMPLES


@pytest.mark.parametrize(
    ("columns", "asked", "chosen"),
    [
        (("text", "label"), {}, ("text", "label")),
        (("source", "target"), {}, ("source", "target")),
        (("Document", "Summary"), {}, ("Document", "Summary")),
        (("review",), {}, ("review", None)),
        (("review", "summary"), {}, ("review", "summary")),
        (("a", "b"), {"text_column": "b"}, ("b", None)),
        (("a", "b"), {"text_column": "b", "summary_column": "a"}, ("b", "a")),
        (("dialogue", "topic", "summary"), {}, ("dialogue", "summary")),
        (("text", "summary", "title"), {"summary_column": "title"}, ("text", "title")),
        (("summary", "title"), {"text_column": "summary"}, ("summary", "title")),
        (("instruction", "input", "output"), {}, ("instruction+input", "output")),
        (("text", "Instruction", "Input", "output"), {}, ("Instruction+Input", "output")),
        (("instruction", "context", "response"), {}, ("instruction+context", "response")),
        (("instruction", "input", "output"), {"summary_column": "input"}, ("instruction", "input")),
        (("instruction", "input", "output"), {"text_column": "input"}, ("input", "output")),
        (("instruction", "output"), {}, ("instruction", "output")),
        (("prompt", "response"), {}, ("prompt", "response")),
        (("a", "b", "title"), {"text_column": "b+title"}, ("b+title", None)),
        (("a+b", "summary"), {"text_column": "a+b"}, ("a+b", "summary")),
    ],
)
def test_columns_are_guessed_by_their_names(file, columns, asked, chosen):
    samples = read(file("a.jsonl", as_lines([dict.fromkeys(columns, "x")])), **asked)
    assert (samples.text_column, samples.summary_column) == chosen


@pytest.mark.parametrize("columns", [("prompt", "response", "text"), ("instruction", "document", "summary")])
def test_a_request_beside_another_text_is_not_plain(file, columns):
    path = file("a.jsonl", as_lines([dict.fromkeys(columns, "x")]))
    with pytest.raises(UsageError, match="is not plain"):
        read(path)
    assert list(read(path, text_column=f"{columns[0]}+{columns[1]}")) == [
        Sample("x\nx", "x" * (columns[2] == "summary") or None)
    ]


def test_what_is_read_as_one_may_be_empty_but_for_its_first(file):
    rows = [{"instruction": "a", "input": value, "output": "c"} for value in (None, "", "b")]
    samples = read(file("a.jsonl", as_lines(rows)))
    assert [sample.text for sample in samples] == ["a", "a", "a\nb"]
    with pytest.raises(UsageError, match="'instruction' is empty"):
        list(read(file("b.jsonl", as_lines([*rows, {**rows[0], "instruction": None}]))))
    with pytest.raises(UsageError, match="no column 'none'"):
        read(file("a.jsonl", as_lines(rows)), text_column="instruction+none")


@pytest.mark.parametrize(
    ("asked", "said"), [({}, True), ({"text_column": "dialogue", "summary_column": "summary"}, False)]
)
def test_columns_that_were_guessed_are_said(file, asked, said):
    notes = with_data(presets.load("kobart"), file("a.jsonl", FORMS["a.jsonl"]), **asked).notes
    note = "Of 'a.jsonl' the text is read from 'dialogue', the summary from 'summary'."
    assert (note in notes) is said


def test_an_instruction_and_its_input_are_measured_as_one(file):
    rows = [{"instruction": "explain " * 400, "input": "", "output": "yes"}]
    lengths = describe(file("a.jsonl", as_lines(rows)), presets.load("qwen3-4b")).lengths
    assert lengths.source[-1] > 400


def test_a_column_of_numbers_is_no_summary(file):
    assert read(file("a.jsonl", '{"text": "x", "label": 3}')).summary_column is None


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.jsonl", "", "holds no samples"),
        ("a.jsonl", "\n\n", "holds no samples"),
        ("a.csv", "", "holds no samples"),
        ("a.csv", "text,summary\n", "holds no samples"),
        ("a.json", "[]", "holds no samples"),
        ("a.json", "3", "no list of objects"),
        ("a.json", "{", "not JSON"),
        ("a.json", '{"text": ["a", "b", "c"], "summary": ["d"]}', "differ in length: 'text' 3, 'summary' 1"),
        ("a.jsonl", '{"text": "a"}\n{"text": \n', "line 2: it is not JSON"),
        ("a.jsonl", '{"text": "a"}\n[1]\n', "line 2: it is no JSON object"),
        ("a.jsonl", '{"text": "a"}\n\n{"text": 5}\n', "line 3: the column 'text' is no text: 5"),
        ("a.jsonl", '{"text": "a"}\n{"text": null}\n', "line 2: the column 'text' is empty"),
        ("a.jsonl", '{"text": "a"}\n{"body": "b"}\n', "line 2: the column 'text' is not there"),
        ("a.jsonl", b'{"text": "a"}\n{"text": "\xb0\xa1"}\n', "line 2: it is not UTF-8"),
        ("a.jsonl", "[" * 100_000, "line 1: it is nested too deep"),
        ("a.jsonl", '{"a": "x", "b": "y"}', "'a', 'b'"),
        ("a.csv", "text,summary\n1,2\n3\n", "line 3: it has 1 fields"),
        ("a.csv", 'text,summary\n"a"b,c\n', "line 2"),
        ("a.csv", b"text\n\xb0\xa1\n", "line 2: it is not UTF-8"),
        ("a.csv", 'text\n"never closed\n', "line 2"),
        ("a.xlsx", "PK", "no data of a kind known"),
    ],
)
def test_bad_data_names_the_line(file, name, content, said):
    with pytest.raises(UsageError) as caught:
        list(read(file(name, content)))
    assert said in caught.value.what
    assert caught.value.do


def test_a_missing_column_names_those_that_are_there(file):
    path = file("a.csv", FORMS["a.csv"])
    with pytest.raises(UsageError) as caught:
        read(path, text_column="dialog")
    assert "'fname', 'dialogue', 'summary', 'n'" in caught.value.what
    assert "'dialogue'" in caught.value.do


def test_paths_that_cannot_be_read(tmp_path):
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        read(tmp_path / "none.jsonl")
    with pytest.raises(UsageError, match="holds no samples"):
        read(tmp_path)
    for name in ("a\0b.jsonl", f"{'x' * 5000}.jsonl"):
        with pytest.raises(UsageError, match="cannot be read"):
            read(tmp_path / name)
    os.mkfifo(tmp_path / "pipe.jsonl")
    with pytest.raises(UsageError, match="no data of a kind"):
        read(tmp_path / "pipe.jsonl")


def test_a_file_too_large_is_refused_unread(tmp_path):
    path = tmp_path / "a.json"
    with path.open("wb") as file:
        file.truncate(2 << 30)
    with pytest.raises(UsageError, match="larger than 1 GiB"):
        read(path)


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv"])
def test_a_line_too_long_is_refused_before_it_is_read_whole(tmp_path, name):
    path = tmp_path / name
    with path.open("wb") as file:
        file.truncate(256 << 20)
    tracemalloc.start()
    with pytest.raises(UsageError, match="line 1: it is longer than 16 MiB"):
        read(path)
    assert tracemalloc.get_traced_memory()[1] < 64 << 20
    tracemalloc.stop()


def test_half_a_surrogate_pair_is_replaced(file):
    (sample,) = read(file("a.jsonl", '{"text": "a\\ud800b"}'))
    assert sample.text == "a?b"


def test_description_of_an_encoder_decoders_data(file):
    path = file("a.jsonl", FORMS["a.jsonl"])
    where, lengths = describe(path, presets.load("kobart"))
    assert (where.path, where.text_column, where.summary_column) == (str(path), "dialogue", "summary")
    assert (where.longest_index, where.samples) == (19, 20)
    assert lengths.estimated
    assert len(lengths.source) == len(lengths.target) == 20
    assert list(lengths.source) == sorted(lengths.source)


def test_what_is_said_of_unknown_lengths_is_not_said_of_measured_ones(file, tmp_path):
    shape = {"architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "vocab_size": 100, "n_positions": 64}
    (tmp_path / "config.json").write_text(json.dumps(shape))
    own = from_folder(tmp_path)
    assert any("Nothing is known" in note for note in own.notes)
    measured = with_data(own, file("a.jsonl", FORMS["a.jsonl"]))
    assert measured.train_samples == len(measured.lengths.source) == 20
    assert not any("Nothing is known" in note for note in measured.notes)
    assert {note for note in own.notes if "Nothing is known" not in note} < {*measured.notes}


@pytest.mark.parametrize("estimated", [True, False])
def test_an_estimate_is_said_to_be_one(file, estimated, monkeypatch):
    tokenizer = tokens.EstimatedTokenizer(30_000)
    tokenizer.estimated = estimated
    monkeypatch.setattr(tokens, "load", lambda _: tokenizer)
    notes = with_data(presets.load("kobart"), file("a.jsonl", FORMS["a.jsonl"])).notes
    assert any("estimate" in note for note in notes) is estimated


def test_a_causal_model_reads_text_and_summary_in_one(file):
    path = file("a.jsonl", FORMS["a.jsonl"])
    whole = describe(path, presets.load("polyglot-ko-12.8b")).lengths
    split = describe(path, presets.load("kobart")).lengths
    assert whole.target == ()
    assert split.source[-1] < whole.source[-1] <= split.source[-1] + split.target[-1]
    ids = tokens.load(presets.load("polyglot-ko-12.8b").model).ids
    assert whole.source[-1] == len(ids(SAMPLES[19].text)) + len(ids(SAMPLES[19].summary))


def test_lengths_are_cut_at_the_limits(file):
    rows = [{"text": "말 " * 5000, "summary": "말 " * 5000}]
    lengths = describe(file("a.jsonl", as_lines(rows)), presets.load("kobart")).lengths
    assert (lengths.source[-1], lengths.target[-1]) == (1026, 200)


def test_an_encoder_decoder_needs_summaries(file):
    path = file("a.jsonl", '{"text": "x"}')
    assert describe(path, presets.load("qwen3-4b")).data.samples == 1
    with pytest.raises(UsageError, match="no column of"):
        describe(path, presets.load("kobart"))


def test_the_digest_is_of_the_content(tmp_path, file):
    path = file("a.txt", "x")
    folder = data.digest(tmp_path)
    assert data.digest(tmp_path) == folder
    single = data.digest(path)
    path.write_text("y")
    assert data.digest(tmp_path) != folder
    assert data.digest(path) != single
    path.rename(tmp_path / "b.txt")
    moved = data.digest(tmp_path)
    path.write_text("")
    assert data.digest(tmp_path) != moved


@pytest.mark.parametrize("fails", [PermissionError(13, "Permission denied"), OSError(36, "File name too long")])
def test_a_digest_of_what_cannot_be_read_any_more_is_an_error(file, monkeypatch, fails):
    path = file("a.jsonl", FORMS["a.jsonl"])
    monkeypatch.setattr(type(path), "open", Mock(side_effect=fails))
    with pytest.raises(UsageError, match=f"a.jsonl cannot be read: {fails.strerror}"):
        data.digest(path)


def test_names_in_another_encoding_are_in_the_digest(tmp_path):
    path = tmp_path / os.fsdecode("가.txt".encode("cp949"))
    path.write_text("x")
    first = data.digest(tmp_path)
    path.rename(tmp_path / os.fsdecode("나.txt".encode("cp949")))
    assert data.digest(tmp_path) != first


def test_of_a_large_set_the_longest_is_found_though_a_part_is_counted(file, monkeypatch):
    monkeypatch.setattr(data, "MEASURED", 50)
    monkeypatch.setattr(data, "LONGEST", 5)
    rows = [{"text": "말 " * (900 if i == 123 else 5), "summary": "말"} for i in range(400)]
    where, lengths = describe(file("a.jsonl", as_lines(rows)), presets.load("kobart"))
    assert (where.longest_index, where.samples, lengths.source[-1]) == (123, 400, 901)
    assert lengths.source[50] == 6


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from([".jsonl", ".json", ".csv", ".tsv"]),
    st.one_of(
        st.binary(max_size=200),
        st.text(alphabet='{}[]",:\n\r\t\\ atexu0', max_size=200).map(str.encode),
    ),
)
def test_nothing_but_a_usage_error_comes_of_nonsense(tmp_path_factory, ending, content):
    path = tmp_path_factory.getbasetemp() / f"fuzz{ending}"
    path.write_bytes(content)
    with suppress(UsageError):
        samples = read(path)
        assert [samples[i] for i in range(len(samples))] == list(samples)
