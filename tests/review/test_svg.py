from xml.etree import ElementTree as ET

import pytest

from autobatch.review import svg
from autobatch.review.figure import Figure, Level, Series


def figure(points, scale="linear", levels=(), mark="points"):
    series = (Series("<script>alert(1)</script>", tuple(points), mark, 0, ("a & b",) * len(points)),)
    return Figure("key", "title <b>", "x & y", "y", "caption", series, levels, scale)


def marks(text, kind="point"):
    found = ET.fromstring(text).iter("path")
    moved = (path.get("transform") for path in found if path.get("class", "").startswith(kind))
    return [tuple(map(float, where.removeprefix("translate(").rstrip(")").split())) for where in moved]


@pytest.mark.parametrize(
    "points",
    [[(0.0, 0.0)], [(1.0, 5.0), (2.0, 5e9)], [(1.0, 1e-9)], [(3.0, 3.0)] * 3, [(1e6, 1.0), (1.0, 2.0)]],
)
@pytest.mark.parametrize("scale", ["linear", "log2", "whole"])
def test_every_point_lies_within_the_frame(points, scale):
    for x, y in marks(svg.draw(figure(points, scale, (Level("limit", 3.0),)))):
        assert 44 <= x <= 390
        assert 26 <= y <= 238


def test_larger_is_further_right_and_higher():
    (x1, y1), (x2, y2), (x3, _) = marks(svg.draw(figure([(1.0, 1.0), (2.0, 2.0), (4.0, 3.0)], "log2")))
    assert x1 < x2 < x3
    assert y2 < y1
    assert x2 - x1 == pytest.approx(x3 - x2, abs=0.2)


def test_counts_get_whole_ticks():
    root = ET.fromstring(svg.draw(figure([(0.0, 1.0), (2.0, 3.0)], "whole")))
    ticks = [e.text for e in root.iter("text") if e.get("class") == "tick" and e.get("text-anchor") == "middle"]
    assert ticks == ["0", "1", "2", "3"]


def test_names_and_notes_are_text_and_no_markup():
    text = svg.draw(figure([(1.0, 1.0)], levels=(Level("<i>limit", 1.0, "x"),))) + svg.legend(figure([(1.0, 1.0)]))
    assert "<script>" not in text
    assert "<i>" not in text
    assert "a &amp; b" in text


def test_lines_are_one_path_and_steps_go_level_first():
    text = svg.draw(figure([(0.0, 0.0), (1.0, 1.0)], mark="steps"))
    (path,) = [e for e in ET.fromstring(text).iter("path") if e.get("class") == "steps h0"]
    assert path.get("d").index("H") < path.get("d").index("V")
