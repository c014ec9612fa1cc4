"""Photograph a real study: `python tests/review/photograph.py trials.db FOLDER STUDY`, for docs/pictures."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from browser import Browser

from autobatch.review.page import html
from autobatch.review.report import gather

PHONE, DESKTOP, TALL = (390, 844), (1280, 900), (1280, 2700)
SHOWN = "document.body.innerText.includes({})"


@contextmanager
def dashboard(database: Path) -> Iterator[str]:
    """Serve the database, and yield the address."""
    command = [sys.executable, "-m", "autobatch", "dashboard", "--db", str(database), "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr
            line = next(line for line in process.stderr if "The dashboard is at" in line)
            yield line.split("at ")[1].split(" ")[0]
        finally:
            process.terminate()


def number_of(database: Path, study: str) -> int:
    """Return the study's number, which the dashboard's addresses hold."""
    with sqlite3.connect(database) as connection:
        return connection.execute("SELECT study_id FROM studies WHERE study_name = ?", (study,)).fetchone()[0]


def main(database: Path, folder: Path, study: str) -> None:
    """Write the pictures of the dashboard and of the report."""
    folder.mkdir(parents=True, exist_ok=True)
    page = folder / "report.html"
    page.write_text(html(gather(database, study)), encoding="utf-8")
    with Browser() as browser, dashboard(database) as address:
        for name, size, phone in (("report-phone", PHONE, True), ("report-desktop", DESKTOP, False)):
            browser.open(page.resolve().as_uri(), *size, phone=phone)
            browser.picture(folder / f"{name}.png")
        for name, place, size, awaited in (
            ("dashboard", "", TALL, "Memory of the card against the micro-batch"),
            ("dashboard-note", "/note", (1280, 1500), "s/step"),
            ("dashboard-trial", "/trials?numbers=0", DESKTOP, "device peak (GiB)"),
        ):
            browser.open(f"{address}dashboard/studies/{number_of(database, study)}{place}", *size)
            browser.wait(SHOWN.format(json.dumps(awaited)).replace("innerText", "textContent"))
            browser.picture(folder / f"{name}.png")
    page.unlink()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
