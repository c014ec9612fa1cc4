"""Pages as a person sees them, in a real browser. AUTOBATCH_PICTURES names a folder that keeps the pictures."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import recorded
from browser import CHROMIUM, Browser

from autobatch.review.page import html
from autobatch.review.report import gather

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium here")

PHONE, DESKTOP = (390, 844), (1280, 900)
CUT_OFF = """[...document.querySelectorAll('body *')].filter(e => {
    const box = e.getBoundingClientRect();
    return box.width && (box.right > document.documentElement.clientWidth + 1 || box.left < -1);
}).map(e => e.tagName + ' ' + e.textContent.slice(0, 60))"""
OUTSIDE_FIGURE = """[...document.querySelectorAll('figure > svg')].flatMap(svg => {
    const frame = svg.getBoundingClientRect();
    return [...svg.querySelectorAll('text')].filter(e => {
        const box = e.getBoundingClientRect();
        return box.right > frame.right + 1 || box.left < frame.left - 1 || box.bottom > frame.bottom + 1;
    }).map(e => e.textContent);
})"""
SMALLEST_TEXT = """Math.min(...[...document.querySelectorAll('figure svg text')].map(e =>
    parseFloat(getComputedStyle(e).fontSize) * e.getScreenCTM().a))"""
SIZES = "[document.documentElement.scrollWidth, window.innerWidth]"


@pytest.fixture(scope="module")
def browser():
    with Browser() as browser:
        yield browser


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = Path(os.environ.get("AUTOBATCH_PICTURES") or tmp_path_factory.mktemp("pictures"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    path = tmp_path_factory.mktemp("db") / "trials.db"
    recorded.make(path)
    recorded.make(path, LONG)
    return path


LONG = "아주-긴-이름의-연구-" + "x" * 120
WINDOWS = {
    "report-phone": (PHONE, {"phone": True}),
    "report-narrow": ((320, 640), {"phone": True}),
    "report-desktop": (DESKTOP, {}),
    "report-dark": (DESKTOP, {"dark": True}),
}


@pytest.fixture(scope="module")
def page(database, tmp_path_factory):
    def write(study: str) -> str:
        path = tmp_path_factory.mktemp("page") / "report.html"
        path.write_text(html(gather(database, study)), encoding="utf-8")
        return path.as_uri()

    return write


@pytest.mark.parametrize("study", [recorded.STUDY, LONG], ids=["usual", "long-name"])
@pytest.mark.parametrize("name", WINDOWS)
def test_nothing_of_the_report_is_cut_off(browser, folder, page, study, name):
    size, options = WINDOWS[name]
    browser.open(page(study), *size, **options)
    width, window = browser.evaluate(SIZES)
    assert width <= window == size[0]
    assert browser.evaluate(CUT_OFF) == []
    assert browser.evaluate(OUTSIDE_FIGURE) == []
    assert browser.evaluate(SMALLEST_TEXT) >= (7 if size[0] < 390 else 9)
    if study == recorded.STUDY:
        browser.picture(folder / f"{name}.png")


def test_what_is_too_wide_would_be_found(browser, page):
    browser.open(page(recorded.STUDY), *PHONE, phone=True)
    browser.evaluate("document.body.insertAdjacentHTML('beforeend', '<p style=\"width: 600px\">wide</p>'); 0")
    assert browser.evaluate(CUT_OFF) == ["P wide"]
    assert browser.evaluate(SIZES)[0] == 614


def test_the_report_prints_on_paper(browser, page):
    browser.open(page(recorded.STUDY), *DESKTOP, dark=True)
    browser.call("Emulation.setEmulatedMedia", media="print")
    assert browser.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert browser.evaluate("getComputedStyle(document.body).color") == "rgb(0, 0, 0)"
    pages = browser.call("Page.printToPDF", paperWidth=8.27, paperHeight=11.69)["data"]
    assert len(pages) > 10_000
    browser.call("Emulation.setEmulatedMedia", media="")


def test_the_dashboard_shows_notes_and_figures(browser, folder, database):
    pytest.importorskip("optuna_dashboard", reason="the dashboard extra is not installed")
    command = [sys.executable, "-m", "autobatch", "dashboard", "--db", str(database), "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr
            line = next(line for line in process.stderr if "The dashboard is at" in line)
            address = line.split("at ")[1].split(" ")[0] + "dashboard/studies/1"
            browser.open(f"{address}/note", *DESKTOP)
            browser.wait("document.body.innerText.includes('Chosen: micro-batch 8 x accumulation 2')")
            headings = browser.evaluate("[...document.querySelectorAll('table')].at(-1).rows[0].innerText.split('\\t')")
            assert headings == ["trial", "stage", "settings", "verdict", "s/step", "samples/s", "card GiB", "host GiB"]
            assert browser.evaluate(SIZES) == [1280, 1280]
            browser.open(f"{address}/trials?numbers=5", *DESKTOP)
            browser.wait("document.body.innerText.includes('Training does not fit on the card')")
            browser.wait("document.body.innerText.includes('device peak (GiB)')")
            assert browser.evaluate("document.body.innerText").count("Best Trial") == 1
            browser.picture(folder / "dashboard-trial.png")
            browser.open(address, 1280, 2700)
            for title in ("Memory of the card against the micro-batch", "Throughput against memory"):
                browser.wait(f"document.body.textContent.includes({json.dumps(title)})")
            browser.wait("document.querySelectorAll('.js-plotly-plot .trace').length > 10")
            assert browser.evaluate(SIZES) == [1280, 1280]
            browser.picture(folder / "dashboard.png")
        finally:
            process.terminate()
