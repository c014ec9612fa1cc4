"""The catalogue of cards, and cards that a person describes by their size alone."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from autobatch.errors import UsageError
from autobatch.safe_files import read_yaml
from autobatch.units import GIB, parse_bytes

FOLDER = Path(__file__).resolve().parent.parent / "configs" / "gpus"
_CLOSE = 0.4
_BESIDE = re.compile(r"nvidia|tesla|geforce|sxm\d?|pcie|nvl|dgxs|hbm\d[a-z]?|\d+gb")
"""Words of a driver's name that leave the card what it is; any other (Ti, SUPER, Laptop, MIG) makes it another card."""


@dataclass(frozen=True)
class Card:
    """A GPU as a plan knows it."""

    name: str
    title: str
    memory_bytes: int
    """What CUDA offers of it."""
    tflops: Mapping[str, float | None]
    """Dense peak by precision; None where the card has no units for it; empty for a card known by its size alone."""
    bandwidth_bytes_s: float | None = None
    capability: tuple[int, int] | None = None

    def supports(self, precision: str) -> bool:
        """Tell whether the card computes in this precision; a card known by its size alone is taken to."""
        return self.tflops.get(precision, 1.0) is not None


def names() -> list[str]:
    """Return the names of the catalogue."""
    return list(_catalogue())


def of_device(name: str, total_bytes: int) -> Card:
    """Return the card that a driver calls `name` and that has `total_bytes`; a nameless one if it is not known."""
    squeezed = "".join(word for word in re.findall(r"[a-z0-9]+", name.lower()) if not _BESIDE.fullmatch(word))
    named = [card for key, card in _catalogue().items() if _squeezed(_without_size(key)) == squeezed]
    if not named:
        return Card(name, name, total_bytes, {})
    return min(named, key=lambda card: abs(card.memory_bytes - total_bytes))


def _without_size(name: str) -> str:
    """Return `a100` for `a100-40`, and `rtx-3090` as it is: cards of two sizes carry theirs at the end."""
    return re.sub(r"(?<=\d)-\d+$", "", name)


def find(text: str) -> Card:
    """Return the card of a name, or a card of a size such as `24GiB`.

    Raises:
        UsageError: it is neither; the nearest names are given.

    """
    squeezed = _squeezed(text)
    for name, card in _catalogue().items():
        if squeezed in {_squeezed(name), _squeezed(card.title)}:
            return card
    if re.match(r"\s*\d+(\.\d+)?\s*([kmgt]i?b?)\s*$", text, re.IGNORECASE):
        size = parse_bytes(text)
        return Card(text.strip(), f"a card of {size / GIB:.1f} GiB", size, {})
    near = difflib.get_close_matches(squeezed, [_squeezed(name) for name in names()], n=3, cutoff=_CLOSE)
    likely = [name for name in names() if _squeezed(name) in near] or names()
    raise UsageError(f"{text!r} is not a card I know.", f"Say {', '.join(likely)}, or a size such as 24GiB.")


@cache
def _catalogue() -> dict[str, Card]:
    found = {}
    for path in sorted(FOLDER.glob("*.yaml")):
        for name, facts in read_yaml(path).items():
            found[name] = Card(
                name,
                facts["title"],
                round(facts["memory_gib"] * GIB),
                facts["tflops"],
                facts["bandwidth_gb_s"] * 1e9,
                (facts["capability"][0], facts["capability"][1]),
            )
    return found


def _squeezed(text: str) -> str:
    text = re.sub(r"[^a-z0-9]", "", text.lower())
    return re.sub(r"^(nvidia)?(geforce)?", "", text).removesuffix("gb")
