"""The frozen configuration: written once from what a study chose, loaded by the training run, checked against now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from autobatch import __version__
from autobatch.errors import UsageError
from autobatch.export import files, kinds, provenance, syntax, targets
from autobatch.export.chosen import Chosen
from autobatch.export.edits import Edit, between
from autobatch.export.summary import summary
from autobatch.request import Limits
from autobatch.safe_files import read_text
from autobatch.settings import SETTINGS, Configuration
from autobatch.verdict import Measurements
from autobatch.workload.spec import Workload

if TYPE_CHECKING:
    from autobatch.machine.differences import Difference

T = TypeVar("T")
_MAPPINGS = ("settings", "configuration", "workload", "machine", "limits", "measurements", "evidence")


@dataclass(frozen=True)
class Frozen:
    """A frozen file, read back."""

    path: Path
    target: str
    """Format of the file, one of `targets.NAMES`."""
    settings: Mapping[str, Any]
    """The file's settings as they stand in it now, by the target's key names."""
    chosen: Chosen
    provenance: Mapping[str, Any]
    edits: tuple[Edit, ...]
    """Settings that were changed by hand since it was frozen."""
    tampered: bool
    """Whether the provenance itself is not what was written."""

    @property
    def configuration(self) -> Configuration:
        """The configuration as it was chosen, whatever was changed in the file since."""
        return self.chosen.configuration

    @property
    def promised(self) -> Measurements:
        """What was measured when it was frozen."""
        return self.chosen.measurements

    @property
    def workload(self) -> Workload:
        """The workload it was frozen for."""
        return self.chosen.workload

    @property
    def arguments(self) -> dict[str, Any]:
        """Training arguments: the file's own where its format holds them, else those of the configuration."""
        if self.target == "hf":
            return dict(self.settings)
        return targets.get("hf").settings(self.chosen)

    @property
    def intact(self) -> bool:
        """Whether settings and provenance are as they were written."""
        return not self.edits and not self.tampered

    def set_environment(self) -> None:
        """Set the environment variables that it was measured with; warn where CUDA has started without them."""
        from autobatch.export import apply

        apply.set_environment(self)

    def apply(self, training_args: T, *, edited: bool = False) -> T:
        """Lay the frozen arguments over a TrainingArguments (or a subclass), in place, and return it.

        The environment variables that it was measured with are set too (`set_environment`).

        Args:
            training_args: is validated again, as if it had been made with the frozen arguments.
            edited: take a file that was changed by hand as it is now.

        Raises:
            UsageError: the file was changed by hand and `edited` is not set, or `training_args` refuses an argument.

        """
        from autobatch.export import apply

        if not edited:
            apply.refuse_changed(self)
        self.set_environment()
        return apply.lay_over(self, training_args)

    def check(self, device: str | None = None) -> list[Difference]:
        """Say what differs between what it was frozen for and this machine, these libraries, model and data.

        Args:
            device: `cuda:0`, ... or `cpu`; None: the one it was frozen on.

        Raises:
            MachineError: the machine cannot be read.

        """
        from autobatch.export.check import differences

        return differences(self, device)


def freeze(chosen: Chosen, target: str = "hf") -> str:
    """Return the text of a frozen file: a summary in words, the settings, the provenance."""
    kind = targets.get(target)
    settings = kind.settings(chosen)
    body = syntax.dump(kind.syntax, settings)
    if kind.syntax == "json":
        return body
    return provenance.comment(summary(chosen, target)) + body + seal(chosen, target, settings)


def seal(chosen: Chosen, target: str, settings: Mapping[str, Any]) -> str:
    """Return the provenance of an export as comment lines, checksum included."""
    return provenance.render(
        {
            "schema": provenance.SCHEMA,
            "autobatch": __version__,
            "written_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "target": target,
            "study": chosen.study,
            "trial": chosen.trial,
            "settings": dict(settings),
            "configuration": chosen.configuration.to_dict(),
            "devices": chosen.devices,
            "workload_digest": chosen.workload.digest,
            "workload": chosen.workload.to_dict(),
            "machine": dict(chosen.machine),
            "limits": asdict(chosen.limits),
            "measurements": chosen.measurements.to_dict(),
            "evidence": dict(chosen.evidence),
        },
    )


def save(chosen: Chosen, path: Path, target: str = "hf", *, force: bool = False) -> None:
    """Write a frozen file; a format without comments gets its provenance in a second file beside it.

    Raises:
        UsageError: it cannot be written, or is another's file and `force` is not set.

    """
    kind = targets.get(target)
    with files.said_of(path):
        files.refuse_unwritable(path)
    beside = files.sidecar(path)
    is_bare = kind.syntax == "json"
    if not force:
        files.refuse_foreign(path)
    if is_bare and not force:
        files.refuse_foreign(beside, files.is_our_sidecar)
    files.write(path, freeze(chosen, target))
    if is_bare:
        head = provenance.comment(summary(chosen, target))
        files.write(beside, head + seal(chosen, target, kind.settings(chosen)))
    elif files.is_our_sidecar(beside):  # of an earlier format
        with files.said_of(beside):
            beside.unlink()


def load(path: str | Path) -> Frozen:
    """Read a frozen file.

    Args:
        path: of a file that `autobatch export` wrote; one that was edited by hand is read, and its `edits` are named.

    Raises:
        UsageError: it is missing, damaged, of a newer autobatch, or no frozen file.

    """
    file = Path(path)
    text = read_text(file)
    try:
        return _frozen(file, text, provenance.parse(_sealed(file, text), file.name))
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        what = f"{file.name}: its provenance lacks or misspells {error}."
        raise UsageError(what, "Write it again with `autobatch export`.") from error


def _sealed(file: Path, text: str) -> str:
    """Return the text that carries the provenance: the file's own, else that of the file beside it."""
    if provenance.carried(text):
        return text
    try:
        return read_text(files.sidecar(file))
    except UsageError:
        return text


def _frozen(file: Path, text: str, facts: Mapping[str, Any]) -> Frozen:
    _refuse_other_kinds(facts)
    target = str(facts["target"])
    now = syntax.parse(targets.get(target).syntax, text, file.name)
    chosen = Chosen(
        study=str(facts["study"]),
        trial=facts["trial"],
        configuration=Configuration(facts["configuration"]),
        measurements=Measurements.from_dict(facts["measurements"]),
        workload=Workload.from_dict(facts["workload"]),
        machine=facts["machine"],
        limits=Limits(**facts["limits"]),
        evidence=facts["evidence"],
        devices=int(facts["devices"]),
    )
    misfit = kinds.wrong(chosen)
    if misfit:
        raise TypeError(misfit)
    tampered = facts.get(provenance.CHECKSUM) != provenance.checksum(facts)
    return Frozen(file, target, now, chosen, facts, between(facts["settings"], now), tampered)


def _refuse_other_kinds(facts: Mapping[str, Any]) -> None:
    """Raise what `load` puts into words where a fact, or a setting, is not of the kind that was written."""
    for name in _MAPPINGS:
        if not isinstance(facts[name], Mapping):
            raise TypeError(name)
    for name, value in facts["configuration"].items():
        if not isinstance(value, type(SETTINGS[name].default)):
            raise TypeError(name)
