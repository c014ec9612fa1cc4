"""What a training loop of a person's own says of itself before it begins, behind `autobatch.probe()`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NoReturn, TypeVar

from autobatch.errors import UsageError
from autobatch.probe.script_batches import check_size, size_of
from autobatch.settings import MICRO_BATCH, PIN_MEMORY, PREFETCH, SETTINGS, WORKERS, Scalar, Setting

T = TypeVar("T")


class Look:
    """Stands in for a probe while a script is only looked at: the loop keeps its own settings, and tells them.

    Args:
        tell: takes what is known when the loop begins, and ends the process.

    """

    searching = True

    def __init__(self, tell: Callable[[dict[str, Any]], NoReturn]) -> None:
        self._tell = tell
        self._settings: dict[str, Scalar] = {}

    def setting(self, name: str, default: Scalar | None) -> Scalar | None:
        """Note and return the loop's own value; None stands for the usual one.

        Raises:
            UsageError: it is another word than those that the loop would get.

        """
        usual = SETTINGS[name].default if name in SETTINGS else ""
        if isinstance(default, str) and name in SETTINGS:
            _check_word(SETTINGS[name], default)
        self._settings[name] = usual if default is None else default
        return default

    def batches(self, loader: Iterable[T]) -> Iterable[T]:
        """Tell what is known: the loop is about to begin.

        Raises:
            UsageError: its loader makes batches of another size than it says.

        """
        expected = self._settings.get(MICRO_BATCH)
        if expected is not None and size_of(loader) not in (None, expected):
            check_size(loader, next(iter(loader), None), int(expected))
        dataset: Any = getattr(loader, "dataset", None)
        size = len(dataset) if hasattr(dataset, "__len__") else 0
        self._say(train_samples=size, unasked=loader_facts(loader))

    def step(self, loss: Any = None) -> None:  # noqa: ANN401, ARG002 - as the probe's
        """Tell what is known: the loop has begun."""
        self._say()

    def _say(self, **known: Any) -> NoReturn:  # noqa: ANN401 - as JSON has it
        self._tell({"loop": True, "settings": self._settings, **known})

    def close(self) -> None:
        """Do nothing: a loop that made no step is found out by its silence."""


def _check_word(setting: Setting, own: str) -> None:
    if not setting.choices or own in (*setting.choices, *setting.accepted):
        return
    listed = ", ".join(map(str, setting.choices))
    what = f"The loop's own {setting.name} is {own!r}, and its values in a search are {listed}."
    do = f'Give p.setting("{setting.name}", ...) one of these, and translate what it returns.'
    raise UsageError(what, do)


def loader_facts(loader: object) -> dict[str, Scalar]:
    """Return what a DataLoader was made with, by the names of the settings; what it does not tell is left out."""
    names = {WORKERS: "num_workers", PREFETCH: "prefetch_factor", PIN_MEMORY: "pin_memory"}
    found = {name: getattr(loader, attribute, None) for name, attribute in names.items()}
    return {name: value for name, value in found.items() if isinstance(value, int)}
