"""Ways for a probe on a card to end; as `classification_entries`."""

from __future__ import annotations

import itertools
from pathlib import Path

from benchmarks.faults.classification_entries import MIB, entry

_HELD: list[object] = []
"""What must stay on the card until the process ends."""


@entry("worst_case")
def cuda_full(_: Path) -> None:
    """Take more of the card than there is, in training."""
    _fill_card()


@entry("eval")
def cuda_full_in_eval(_: Path) -> None:
    """Take more of the card than there is, in evaluation."""
    _fill_card()


def _fill_card() -> None:
    import torch

    _HELD.extend(torch.ones(256 * MIB, device="cuda") for _ in itertools.count())


@entry("worst_case")
def cuda_assert(_: Path) -> None:
    """Index beyond a tensor on the card: an assertion in a kernel."""
    import torch

    table = torch.zeros(4, 4, device="cuda")
    torch.nn.functional.embedding(torch.tensor([10], device="cuda"), table)
    torch.cuda.synchronize()


@entry("typical")
def cuda_fine(_: Path) -> None:
    """Use the card, and end well."""
    import torch

    torch.ones(MIB, device="cuda").sum().item()
