"""Whether settings go together, so that what a person asks to have searched is searched."""

from __future__ import annotations

from typing import TYPE_CHECKING

from autobatch.errors import UsageError
from autobatch.settings import ARM_KEYS, METHOD, QUANTIZATION, SearchSpace

if TYPE_CHECKING:
    from autobatch.job.space import Wishes

_WHY = "a quantised base needs method=lora to train"


def check(space: SearchSpace, wish: Wishes) -> None:
    """Make sure that every value that was named is in the space, and that of usual values two are.

    Raises:
        UsageError: one is not, or the fixed settings leave nothing.

    """
    arms = space.arms()
    for name in (name for name in wish.search if name in ARM_KEYS):
        left = {arm[name] for arm in arms}
        lost = [value for value in space.searched[name] if value not in left]
        is_usual = name in wish.usual or not wish.search[name]
        if lost and not (is_usual and len(left) > 1):
            raise UsageError(f"{name}={lost[0]} would never be tried: {_WHY}.", _to_have(name, space, wish))
    if not arms:
        message = f"The fixed settings do not go together: {_WHY}."
        raise UsageError(message, "Add --fix method=lora, or leave quantization at none.")


def _to_have(name: str, space: SearchSpace, wish: Wishes) -> str:
    """Say what lets a value of the method, or of the quantisation, be tried."""
    if name == METHOD:
        quantised = space.searched.get(QUANTIZATION) or (space.fixed[QUANTIZATION],)
        both = ",".join(map(str, ("none", *quantised)))
        return f"Give --search {QUANTIZATION}={both}, or --fix method=lora in place of --search method."
    instead = f", in place of --fix method={wish.fix[METHOD]}" if METHOD in wish.fix else ""
    return f"Add --search method=full,lora, or --fix method=lora{instead}."
