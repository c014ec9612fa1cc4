import pytest

from autobatch.errors import UsageError
from autobatch.units import format_bytes, format_duration, parse_bytes, parse_duration


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("24GiB", 24 * 2**30),
        ("60G", 60 * 2**30),
        ("60GB", 60 * 10**9),
        ("512m", 512 * 2**20),
        ("512MB", 512 * 10**6),
        ("8k", 8 * 2**10),
        ("1.5 MiB", 1572864),
        ("7", 7),
    ],
)
def test_sizes(text, count):
    assert parse_bytes(text) == count


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("30m", 1800), ("1h30m", 5400), ("45", 45), ("0.5h", 1800)])
def test_durations(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "GiB", "-3GiB", "3 parsecs", "0GiB", f"{'9' * 400}GiB"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(UsageError):
        parse_bytes(text)


@pytest.mark.parametrize("text", ["", "m", "-3m", "3x", "3m x", "9999d", "9" * 400])
def test_what_is_no_duration_is_refused(text):
    with pytest.raises(UsageError):
        parse_duration(text)


def test_people_read_short_figures():
    assert (format_bytes(24 * 2**30), format_bytes(3 * 2**20)) == ("24.0 GiB", "3 MiB")
    assert [format_duration(s) for s in (45, 600, 5160, 11100)] == ["45 s", "10 min", "86 min", "3 h 05 min"]
