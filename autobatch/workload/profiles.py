"""Working profiles: how much data and which effective batch, for a look, a check, or the real thing.

The figures are those of one team's comparison on dialogue summarisation: half the data at an effective batch of 8 shows
that everything works, all of it at 8 tells configurations apart, and 16 is what the submitted models were trained with.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from autobatch.errors import UsageError
from autobatch.workload.spec import Workload


@dataclass(frozen=True)
class Profile:
    """What of a workload a profile sets."""

    purpose: str
    train_samples: int | None
    """At most so many samples; None: all."""
    effective_batch: int | None
    """None: the workload's own."""

    def applied(self, workload: Workload, *, keep_batch: bool = False, keep_samples: bool = False) -> Workload:
        """Return the workload under this profile, with a note that says what it changed."""
        wanted = None if keep_samples else self.train_samples
        samples = min(workload.train_samples, wanted or workload.train_samples)
        batch = workload.effective_batch if keep_batch else self.effective_batch or workload.effective_batch
        changed = []
        if samples != workload.train_samples:
            changed.append(f"{samples:,} of {workload.train_samples:,} samples")
        if batch != workload.effective_batch:
            instead = f" in place of {workload.effective_batch}" if workload.effective_batch else ""
            changed.append(f"effective batch {batch}{instead}")
        notes = (*workload.notes, f"For {self.purpose}: {', '.join(changed)}.") if changed else workload.notes
        return replace(workload, train_samples=samples, effective_batch=batch, notes=notes)


PROFILES: Mapping[str, Profile] = MappingProxyType(
    {
        "quick": Profile("a quick look, not for figures to report", 6_000, 8),
        "medium": Profile("telling configurations apart", None, 8),
        "final": Profile("the model to keep", None, None),
    },
)


def apply(name: str, workload: Workload, *, keep_batch: bool = False, keep_samples: bool = False) -> Workload:
    """Return the workload under a profile by name.

    Args:
        name: of the profile.
        workload: as it is without one.
        keep_batch: leave the effective batch alone, as a person has named one.
        keep_samples: leave the data alone, as a script has its own.

    Raises:
        UsageError: there is no such profile.

    """
    if name not in PROFILES:
        raise UsageError(f"There is no profile {name!r}.", f"Choose one of {', '.join(PROFILES)}.")
    return PROFILES[name].applied(workload, keep_batch=keep_batch, keep_samples=keep_samples)
