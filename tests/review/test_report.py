import json
import math
import re
from html.parser import HTMLParser

import pytest
import recorded

from autobatch import attributes
from autobatch.review.facts import flat
from autobatch.review.markdown import markdown
from autobatch.review.page import html
from autobatch.review.report import gather

EVIL = "<script>alert('x')</script> [a](javascript:b) `|"


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    path = tmp_path_factory.mktemp("db") / "trials.db"
    recorded.make(path)
    return gather(path)


@pytest.fixture(scope="module")
def evil(tmp_path_factory):
    path = tmp_path_factory.mktemp("db") / "trials.db"
    study = recorded.make(path, EVIL)
    study.set_user_attr(attributes.MACHINE, json.dumps({EVIL: EVIL, "gpus": [{"name": EVIL}]}))
    study.set_user_attr(attributes.ANSWER, json.dumps(recorded.answer() | {"stopped": EVIL, "study": EVIL}))
    return gather(path)


class Outline(HTMLParser):
    """Tags that are open, and every tag and attribute seen."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.names: set[str] = set()

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.names |= {name for name, _ in attrs}
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def outline(text):
    parser = Outline()
    parser.feed(text)
    assert parser.open == []
    return parser


def test_the_answer_comes_first_and_all_parts_are_there(report):
    text = html(report)
    headings = re.findall(r"<h2>(.*?)</h2>", text)
    assert text.index("Chosen: micro-batch 8 x accumulation 2") < text.index("<h2>")
    assert headings == [
        "Settings",
        "Evidence: the best trials",
        "Figures",
        "What failed, and why",
        "How far to trust this",
        "Workload and limits",
        "Machine",
    ]
    assert text.count("<figure>") == 6
    assert "NVIDIA GeForce RTX 3090" in text
    assert "17 min" in text


def test_the_page_needs_no_network_and_runs_nothing(report):
    text = html(report)
    assert not re.search(r"https?://|@import|url\(", text)
    parsed = outline(text)
    assert parsed.tags.isdisjoint({"script", "link", "img", "iframe", "object"})


def test_nothing_of_a_study_acts_in_the_page(evil):
    parsed = outline(html(evil))
    assert "script" not in parsed.tags
    assert not any(name.startswith("on") for name in parsed.names)


def test_nothing_of_a_study_acts_in_markdown(evil):
    outside_code = re.sub(r"(?<!\\)`.*?(?<!\\)`", "", markdown(evil))
    unescaped = re.sub(r"\\.", "", outside_code)
    assert "<" not in unescaped
    assert "[" not in unescaped


def test_markdown_has_the_same_parts(report):
    text = markdown(report)
    for heading in ("# llama", "## Answer", "## Evidence", "## What failed", "## How far to trust this", "## Machine"):
        assert f"\n{heading}" in f"\n{text}"
    assert "| 9 | confirm | micro-batch 8 x 2" in text
    assert "- 2 x **cuda\\_oom\\_train**: Training does not fit" in text


def test_json_carries_everything(report):
    told = json.loads(report.to_json())
    assert told["answer"]["chosen"]["trial"] == 9
    assert told["verdicts"]["cuda_oom_train"] == 2
    assert [trial["trial"] for trial in told["best"]] == [9, 4, 3, 7, 0]
    assert {failure["kind"] for failure in told["failures"]} == {"cuda_oom_train", "over_limit", "watchdog_memory"}
    assert len(told["figures"]) == 6


def test_json_has_no_figure_that_json_has_no_word_for(tmp_path):
    study = recorded.make(tmp_path / "trials.db")
    answer = recorded.answer()
    answer["chosen"]["measurements"] |= {"loss": math.nan, "micro_step_rel_error": math.inf}
    study.set_user_attr(attributes.ANSWER, json.dumps(answer))

    told = json.loads(gather(tmp_path / "trials.db").to_json(), parse_constant=pytest.fail)

    assert told["answer"]["chosen"]["measurements"]["loss"] is None


def test_trust_is_what_the_measurements_support(report):
    said = " ".join(report.trust)
    assert "measured again in a fresh process" in said
    assert "+/- 1.5 %" in said
    assert "Between processes it differs, too: 2 processes came to 12.0 to 12.1 samples/s." in said
    assert "predicted memory with a median error of 3.0 %" in said
    assert "random tokens" in said


def test_a_search_that_has_not_ended_says_so(tmp_path):
    recorded.make(tmp_path / "trials.db", answered=False)
    report = gather(tmp_path / "trials.db")
    assert report.lines[0].startswith("The search has not ended. Best so far: micro-batch 8")
    outline(html(report))
    assert "not confirmed" in markdown(report)


def test_an_empty_study_is_reported_too(tmp_path):
    recorded.storage(tmp_path / "new.db").create_new_study([recorded.StudyDirection.MAXIMIZE], "new")
    report = gather(tmp_path / "new.db")
    assert "nothing has run" in report.lines[0]
    outline(html(report))
    assert markdown(report).startswith("# new")
    json.loads(report.to_json())


def test_nothing_feasible_gives_its_advice_and_no_best(tmp_path):
    study = recorded.make(tmp_path / "trials.db")
    answer = recorded.answer() | {"chosen": None, "runner_up": None, "advice": "a card of 40 GiB"}
    study.set_user_attr(attributes.ANSWER, json.dumps(answer))
    text = html(gather(tmp_path / "trials.db"))
    assert "Nothing was chosen" in text
    assert "a card of 40 GiB" in text


def test_a_choice_without_an_end_is_reported_too(tmp_path):
    study = recorded.storage(tmp_path / "new.db").create_new_study([recorded.StudyDirection.MAXIMIZE], "new")
    answer = json.dumps({"chosen": recorded.answer()["chosen"]})
    recorded.storage(tmp_path / "new.db").set_study_user_attr(study, attributes.ANSWER, answer)
    outline(html(gather(tmp_path / "new.db")))


def test_of_inference_the_page_tells_what_was_measured(tmp_path):
    study = recorded.make(tmp_path / "trials.db")
    answer = recorded.answer()
    for choice in (answer["chosen"], answer["runner_up"]):
        choice["measurements"] = {"eval_samples_per_s": 10.0, "device_peak_used_bytes": 2**33}
    study.set_user_attr(attributes.ANSWER, json.dumps(answer))

    text = html(gather(tmp_path / "trials.db"))

    assert "Chosen: for inference, lora, bf16" in text
    assert "Second: for inference, lora, bf16, 2 workers, eval batch 8: 10.0 samples/s." in text
    assert "<b>10.0</b><span>samples/s in evaluation</span>" in text
    assert "s/step" not in re.sub(r"<figure.*</figure>", "", text, flags=re.DOTALL)
    assert "<h2>Settings (those of training alone were not measured)</h2>" in text


def test_a_machine_is_told_fact_by_fact():
    machine = {"gpus": [{"name": "RTX 3090", "total_bytes": 24 * 2**30}], "libraries": {"torch": "2.13"}, "wsl2": False}
    told = dict(flat(machine | {"cores": 48, "unknown": None, "none": []}))
    assert told == {
        "gpu 0 name": "RTX 3090",
        "gpu 0 total": "24.0 GiB",
        "libraries torch": "2.13",
        "wsl2": "no",
        "cores": "48",
    }
