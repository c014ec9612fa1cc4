import contextlib
import io
import os
import pty
import re
import threading

import pytest
import recorded

from autobatch import attributes
from autobatch.request import Limits
from autobatch.review import terminal
from autobatch.review.live import LiveView, PlainView, QuietView, make_view
from autobatch.review.picture import Picture, Scene, expectation
from autobatch.settings import Configuration
from autobatch.units import GIB
from autobatch.verdict import Kind

TRIED = Configuration(per_device_train_batch_size=8, gradient_accumulation_steps=2, precision="bf16")
WHY = {
    attributes.WHY: "most expected gain for its time",
    attributes.PREDICTED_SAMPLES_PER_S: 12.0,
    attributes.PREDICTED_PEAK_GIB: 18.2,
    attributes.CHANCE_TO_FIT: 0.93,
    attributes.LEFT_TO_GAIN: 12.3,
}
OK = recorded.verdict(Kind.OK, 8, 2, 0.66, 18.0)
OOM = recorded.verdict(Kind.CUDA_OOM_TRAIN, 16, 2, None, None)


def written(encoding: str) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(), encoding=encoding, write_through=True)


def content(stream: io.TextIOWrapper) -> str:
    return stream.buffer.getvalue().decode(stream.encoding)


def drive(view) -> None:
    view.begin(Scene("한국어-요약", 1800.0, recorded.LIMITS, lambda: {"phase": "worst_case", "device_bytes": 12 * GIB}))
    view.stage("search")
    view.trial_started(0, TRIED, WHY)
    view.trial_finished(0, TRIED, OK)
    view.trial_started(1, TRIED.replace(per_device_train_batch_size=16, gradient_accumulation_steps=1), {})
    view.trial_finished(1, TRIED.replace(per_device_train_batch_size=16, gradient_accumulation_steps=1), OOM)
    view.message("카드가 비기를 기다립니다")
    view.trial_started(2, TRIED, WHY)


def rendered(view: LiveView, encoding: str, width: int = 100) -> str:
    from rich.console import Console

    stream = written(encoding)
    console = Console(file=terminal.tolerant(stream), width=width, force_terminal=True, color_system=None)
    console.print(view.render())
    return content(stream)


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1", "euc-kr"])
def test_plain_lines_on_any_encoding(encoding):
    stream = written(encoding)
    drive(PlainView(stream))
    lines = content(stream).splitlines()
    assert len(lines) == 7
    assert "trial 0 starts: micro-batch 8 x 2, bf16" in lines[1]
    assert "(most expected gain for its time)" in lines[1]
    assert "trial 0: micro-batch 8 x 2, bf16, 2 workers: 12.0 samples/s, 18.0 GiB, in 8 s (best so far)" in lines[2]
    assert "cuda_oom_train. Training does not fit on the card" in lines[4]
    assert ("카드가" in lines[5]) == (encoding in {"utf-8", "euc-kr"})


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "euc-kr"])
def test_the_panel_shows_the_standing_on_any_encoding(encoding):
    view = LiveView(written("utf-8"))
    drive(view)
    text = rendered(view, encoding)
    for expected in (
        "30 min left of 30 min",
        "trial 2, worst_case",
        "12.3 % over the best",
        "12.0 of 24.0 GiB, safe to 20.4",
        "0.0 of 60.0 GiB, safe to 48.0",
        "12.0 samples/s, trial 0",
        "1 ran, 1 failed, stage search",
        "most expected gain for its time",
    ):
        assert expected in text


@pytest.mark.parametrize("width", [40, 80, 200])
def test_every_line_of_the_panel_is_as_wide_as_the_terminal_with_hangul_too(width):
    from rich.cells import cell_len

    view = LiveView(written("utf-8"))
    drive(view)
    assert {cell_len(line) for line in rendered(view, "utf-8", width).splitlines()} == {width}


def test_ascii_terminals_get_ascii_alone():
    view = LiveView(written("utf-8"))
    view.begin(Scene("kobart", 60.0, recorded.LIMITS))
    view.trial_started(0, TRIED, WHY)
    text = rendered(view, "ascii")
    assert text.isascii()
    assert "?" not in text


def test_make_view_suits_the_stream():
    assert isinstance(make_view(io.StringIO()), PlainView)
    assert isinstance(make_view(io.StringIO(), quiet=True), QuietView)


def read_terminal(leader: int, shown: list[bytes]) -> None:
    with contextlib.suppress(OSError):  # the other end is closed
        while found := os.read(leader, 65536):
            shown.append(found)


def test_a_real_terminal_gets_the_panel_and_is_left_clean(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    leader, follower = pty.openpty()
    shown: list[bytes] = []
    reader = threading.Thread(target=read_terminal, args=(leader, shown))
    reader.start()
    with os.fdopen(follower, "w") as stream, make_view(stream, color=False) as view:
        assert isinstance(view, LiveView)
        drive(view)
    reader.join(10)
    os.close(leader)
    text = b"".join(shown).decode()
    assert "autobatch search" in text
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")  # the cursor is back
    assert not re.search(r"\x1b\[[34]\d", text)  # no colour


def test_a_dumb_terminal_gets_lines(monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    leader, follower = pty.openpty()
    with os.fdopen(follower, "w") as stream:
        assert isinstance(make_view(stream), PlainView)
    os.close(leader)


def test_the_best_is_the_fastest_that_ran():
    picture = Picture()
    slower = recorded.verdict(Kind.OK, 4, 2, 0.36, 12.4)
    over = recorded.verdict(Kind.OVER_LIMIT, 8, 2, 0.1, 23.0)
    for number, verdict in enumerate([slower, OK, over, slower]):
        picture.trial_finished(number, TRIED, verdict)
    assert picture.best is not None
    assert picture.best.trial == 1
    assert "best so far" not in picture.last[-1]


def test_the_reason_is_the_searchs_own_or_put_together():
    assert expectation(WHY) == "most expected gain for its time"
    predicted = {key: value for key, value in WHY.items() if key != attributes.WHY}
    assert expectation(predicted) == "12.0 samples/s expected, 18.2 GiB expected, 93 % to fit"
    assert expectation({}) == ""


def test_on_the_cpu_the_host_alone_has_a_bar():
    view = LiveView(written("utf-8"))
    view.begin(Scene("kobart", 60.0, Limits(GIB, 0.8, GIB, 0.8)))
    assert rendered(view, "utf-8").count("safe to 0.8") == 1


def test_the_budget_runs_down_and_not_below_zero():
    now = [0.0]
    picture = Picture(Scene(budget_s=10.0), clock=lambda: now[0])
    now[0] = 4.0
    assert picture.left_s == 6.0
    now[0] = 40.0
    assert picture.left_s == 0.0
    assert Picture().left_s is None


@pytest.mark.parametrize("is_terminal", [False, True])
def test_a_view_whose_reader_is_gone_stops_writing_and_raises_nothing(is_terminal, monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    reader, writer = pty.openpty() if is_terminal else os.pipe()
    with os.fdopen(writer, "w", encoding="utf-8") as stream:
        view = make_view(stream)
        assert isinstance(view, LiveView) == is_terminal
        os.close(reader)
        with view:
            drive(view)
        stream.flush()  # what Python does when it ends
    assert view.picture.counts["ok"] == 1


@pytest.mark.parametrize("errors", ["strict", "surrogateescape"])
def test_a_stream_that_lacks_a_character_never_raises(errors):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors=errors, write_through=True)
    terminal.tolerant(stream).write("study 한국어")
    assert content(stream) == "study ???"
