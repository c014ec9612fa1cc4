"""The live view in a real terminal emulator. AUTOBATCH_PICTURES names a folder that keeps the picture."""

import io
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from browser import CHROMIUM, Browser
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

PLAY = Path(__file__).with_name("play.py")
TMUX = shutil.which("tmux")

pytestmark = pytest.mark.skipif(TMUX is None, reason="no tmux here")


class Terminal:
    """One tmux server of our own, with one window of that many columns and rows."""

    def __init__(self, folder: Path, columns: int, rows: int, command: list[str], environment: dict[str, str]) -> None:
        self._tmux = [str(TMUX), "-u", "-S", str(folder / "tmux"), "-f", "/dev/null"]
        size = ["-x", str(columns), "-y", str(rows)]
        # the size is to be the terminal's own, whatever our own environment says
        inherited = {name: value for name, value in os.environ.items() if name not in {"COLUMNS", "LINES"}}
        started = [*self._tmux, "new-session", "-d", *size, *command]
        subprocess.run(started, check=True, env=inherited | environment)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        subprocess.run([*self._tmux, "kill-server"], check=False)

    def screen(self, *options: str) -> str:
        command = [*self._tmux, "capture-pane", "-p", *options]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    def wait(self, text: str) -> str:
        """Return the screen once the text is on it."""
        deadline = time.monotonic() + 30
        while text not in self.screen():
            assert time.monotonic() < deadline, self.screen()
            time.sleep(0.1)
        return self.screen()


def play(folder: Path, model: str, columns: int, **environment: str) -> Terminal:
    command = [sys.executable, str(PLAY), model, "20"]
    return Terminal(folder, columns, 30, command, environment)


@pytest.mark.parametrize("columns", [80, 120])
@pytest.mark.parametrize("model", ["llama-3.2-korean-3b", "한국어-대화-요약-모델"])
def test_every_line_ends_at_the_terminals_edge_also_with_hangul(tmp_path, model, columns):
    with play(tmp_path, model, columns) as terminal:
        lines = terminal.wait("trial 6").splitlines()
    panel = [line for line in lines if line[:1] in {"│", "╭", "╰"}]
    assert 10 < len(panel) <= 24
    assert {cell_len(line) for line in panel} == {columns}
    assert not any("\u2026" in line for line in panel)  # nothing is cut off
    assert model in lines[0]
    assert any("29 min left of 30 min" in line or "30 min left of 30 min" in line for line in panel)


def test_an_ascii_terminal_gets_ascii(tmp_path):
    with play(tmp_path, "kobart", 80, PYTHONIOENCODING="ascii") as terminal:
        assert terminal.wait("trial 6").isascii()


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium here")
def test_a_picture_of_the_terminal(tmp_path):
    folder = Path(os.environ.get("AUTOBATCH_PICTURES") or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)
    with play(tmp_path, "llama-3.2-korean-3b", 110) as terminal:
        terminal.wait("trial 6")
        colored = terminal.screen("-e")
    console = Console(record=True, width=110, file=io.StringIO(), force_terminal=True)
    console.print(Text.from_ansi(colored.rstrip()))
    page = tmp_path / "screen.html"
    page.write_text(console.export_html(inline_styles=True), encoding="utf-8")
    with Browser() as browser:
        browser.open(page.as_uri(), 1100, 420)
        assert browser.evaluate("document.documentElement.scrollWidth") <= 1100
        browser.picture(folder / "live.png")
    assert (folder / "live.png").stat().st_size > 10_000
