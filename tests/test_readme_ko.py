"""The Korean start page says what the English one says: the same parts, commands, options and codes, in order."""

import re
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "README.ko.md"]


def parts(text: str) -> tuple[list[str], list[str]]:
    """Tell the lines of code, without comments, from the lines of prose."""
    code, prose, fenced = [], [], False
    for line in text.splitlines():
        if line.startswith("```"):
            fenced = not fenced
        elif fenced or line.startswith("    "):
            code.append(re.sub(r"\s+# .*", "", line))
        else:
            prose.append(line)
    return code, prose


def both(read) -> list:
    return [read(*parts(path.read_text(encoding="utf-8"))) for path in PAGES]


def headings(_, prose):
    return [line.split()[0] for line in prose if line.startswith("#")]


def code(code, _):
    return code


def spans(_, prose):
    return Counter(re.findall(r"`([^`]+)`", "\n".join(prose)))


def first_cells(_, prose):
    rows = [line.split("|")[1].strip() for line in prose if line.startswith("|")]
    return [cell for cell in rows if re.match(r"[`\d-]", cell)]


def figures(_, prose):
    return Counter(re.findall(r"\d+(?:\.\d+)? ?%", "\n".join(prose)))


@pytest.mark.parametrize("read", [headings, code, spans, first_cells, figures])
def test_both_start_pages_have_the_same(read):
    english, korean = both(read)
    assert english
    assert korean == english


def test_the_korean_page_is_korean():
    _, prose = parts(PAGES[1].read_text(encoding="utf-8"))
    told = [line for line in prose if len(line) > 40 and not line.startswith(("|", "`", "<!--"))]
    assert all(re.search("[가-힣]", line) for line in told)
