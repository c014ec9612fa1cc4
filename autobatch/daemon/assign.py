"""Which device a search of the queue may have now, and why it has none."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from autobatch.machine.gpus import Gpu
from autobatch.store.entry import AT_WORK, Item
from autobatch.store.lock import CPU


@dataclass(frozen=True)
class Devices:
    """What this machine has to give.

    Attributes:
        gpus: those to be seen now.
        trouble: why they cannot be seen; empty where they can, or where there are none.
        busy: says who else searches on a GPU's UUID or `cpu`; nothing where nobody does.

    """

    gpus: Sequence[Gpu]
    trouble: str
    busy: Callable[[str], str]

    def choose(self, item: Item, taken: Mapping[str, int], studies: Mapping[str, int]) -> tuple[str | None, str]:
        """Return the device for an entry, or None and the reason.

        Args:
            item: the entry.
            taken: the entry at work on each device.
            studies: the entry at work on each study.

        """
        if other := studies.get(study_of(item)):
            return None, f"waits: search {other} is at work on the same study"
        reason = self.trouble or "no GPU is to be seen here"
        for name in self.fit(item):
            if name in taken:
                reason = f"search {taken[name]} is at work on {name}"
            elif busy := self.busy(self._identity(name)):
                reason = busy
            else:
                return name, ""
        return None, f"waits: {reason}"

    def fit(self, item: Item) -> Sequence[str]:
        """Return the devices that would do. A search that began on a GPU is not moved to the processors."""
        asked, cards = str(item.job.get("device", "auto")), [f"cuda:{gpu.index}" for gpu in self.gpus]
        if asked != "auto":
            return ["cuda:0" if asked == "cuda" else asked]
        if item.device is None:
            return cards or [CPU]
        return [CPU] if item.device == CPU else cards

    def shares(self, items: Sequence[Item]) -> int:
        """Return how many searches may run side by side: they share the host's memory."""
        return max(1, len(self.gpus) + any(self.fit(item) == [CPU] for item in items))

    def _identity(self, name: str) -> str:
        return next((gpu.uuid for gpu in self.gpus if name == f"cuda:{gpu.index}"), name)


def study_of(item: Item) -> str:
    """Return the study that an entry works on; empty where its process has yet to name it."""
    return item.study or str(item.job.get("study") or "")


def studies_of(items: Sequence[Item]) -> dict[str, int]:
    """Return the studies that entries are at work on."""
    return {study_of(item): item.entry_id for item in items if item.state in AT_WORK and study_of(item)}


def taken_by(items: Sequence[Item]) -> dict[str, int]:
    """Return the devices that entries are at work on."""
    return {item.device: item.entry_id for item in items if item.state in AT_WORK and item.device is not None}
