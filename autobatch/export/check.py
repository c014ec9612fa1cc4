"""Whether a frozen file still holds: for itself, this machine, these libraries, the model and the data."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from autobatch.errors import UsageError
from autobatch.export import kinds
from autobatch.export.frozen import Frozen
from autobatch.machine import fingerprint
from autobatch.machine.differences import Difference
from autobatch.machine.fingerprint import Fingerprint
from autobatch.machine.gpus import GpuUnavailableError
from autobatch.review import words
from autobatch.store.lock import GpuLock, identity_of
from autobatch.workload.spec import Data, Lengths, Model, Workload

_ABSENT = "absent"
_UNREADABLE = (UsageError, OSError, ValueError)
"""What a path out of a file may come to: missing, forbidden, too long, or with a null byte in it."""
_OF_A_SCRIPT = {
    "model": "Time and memory depend on the model.",
    "method": "Time and memory depend on the method.",
    "quantization": "Time and memory depend on the quantisation.",
    "lengths": "The longest sample decides the memory, the typical ones the time.",
    "train_samples": "The training is of another length.",
}


def differences(frozen: Frozen, device: str | None = None) -> list[Difference]:
    """Return in what now differs from what the file was frozen for, what matters first.

    Args:
        frozen: the file.
        device: that a run would use; None: the one it was frozen on.

    Raises:
        UsageError: the device is written in another way, or the file's machine is none.
        MachineError: the machine cannot be read, has no such device, or a search is at work on a script's.

    """
    found = [*_of_file(frozen), *_of_machine(frozen, device), *_of_model(frozen.workload.model)]
    if frozen.workload.script is not None:
        found += _of_script(frozen.workload, device or frozen.chosen.device)
    if frozen.workload.data is not None:
        found += _of_data(frozen.workload.data)
    return sorted(found, key=lambda difference: not difference.matters)


def _of_file(frozen: Frozen) -> Iterator[Difference]:
    if frozen.tampered:
        why = "The figures in its comments were changed by hand: they promise nothing."
        yield Difference("provenance", "sealed", "does not match its checksum", matters=True, why=why)
    for edit in frozen.edits:
        why = "The file was edited by hand since it was frozen: this was not measured."
        yield Difference(edit.key, _text(edit.frozen), _text(edit.now), matters=True, why=why)


def _text(value: object) -> str:
    return _ABSENT if value is None else str(value)


def _of_machine(frozen: Frozen, device: str | None) -> Iterator[Difference]:
    try:
        was = Fingerprint.from_dict(frozen.chosen.machine)
    except (KeyError, TypeError):
        why = "The file does not say on which machine it was measured."
        yield Difference("machine", "unknown", "this one", matters=True, why=why)
        return
    misfit = kinds.wrong(was)
    if misfit:
        what = f"{frozen.path.name}: its provenance misspells {misfit} of the machine."
        raise UsageError(what, "Write it again with `autobatch export`.")
    yield from fingerprint.compare(was, fingerprint.read(device) if device else _here(was.device))


def _here(device: str) -> Fingerprint:
    """Return this machine's fingerprint on the device that was frozen, or on the CPU where that is not there."""
    try:
        return fingerprint.read(device)
    except GpuUnavailableError:
        return fingerprint.read("cpu")


def _of_model(model: Model) -> Iterator[Difference]:
    if model.path is None:
        return
    from autobatch.workload.resolve import from_folder

    why = "Time and memory depend on the model."
    try:
        now = from_folder(Path(model.path), model.name).model
    except _UNREADABLE as error:
        yield Difference("model", model.path, str(error), matters=True, why=why)
        return
    keys = sorted({*model.config, *now.config}) if model.config else []
    for key in keys:
        old, new = model.config.get(key), now.config.get(key)
        if old != new:
            yield Difference(f"model: {key}", _text(old), _text(new), matters=True, why=why)


def _of_data(data: Data) -> Iterator[Difference]:
    from autobatch.workload.data import digest

    why = "The longest sample decides the memory, the typical ones the time."
    try:
        now = digest(Path(data.path))
    except _UNREADABLE as error:
        yield Difference("data", data.path, str(error), matters=True, why=why)
        return
    if now != data.digest:
        yield Difference("data", data.digest, now, matters=True, why=why)


def _of_script(was: Workload, device: str) -> Iterator[Difference]:
    """Run the script up to its first training, and say what else it would train now."""
    from autobatch.probe.script_workload import look

    assert was.script is not None
    command = " ".join(was.script)
    try:
        with GpuLock(identity_of(_here(device).gpu)):  # it loads its model onto the card
            now = look(was.script, device).workload
    except _UNREADABLE as error:
        why = "The script cannot be run as it was: call this from the folder it was searched in."
        yield Difference("script", command, str(error), matters=True, why=why)
        return
    for name, why in _OF_A_SCRIPT.items():
        old, new = getattr(was, name), getattr(now, name)
        # a working profile takes fewer samples than there are
        if new < old if name == "train_samples" else new != old:
            yield Difference(f"script: {name}", _brief(old), _brief(new), matters=name != "train_samples", why=why)


def _brief(value: object) -> str:
    if isinstance(value, Lengths):
        return f"longest {value.source[-1]}" + (f" and {value.target[-1]}" if value.target else "")
    return str(value.parameters) + " parameters" if isinstance(value, Model) else str(value)


def report(path: Path, found: list[Difference]) -> str:
    """Return in words what differs, and whether the file holds here."""
    lines = [f"{'!' if d.matters else ' '} {words.one_line(_said(d))}" for d in found]
    if any(difference.matters for difference in found):
        lines.append(f"{path} does not hold here: what is marked matters. Search again, or try `autobatch verify`.")
    else:
        lines.append(f"{path} holds here.")
    return "\n".join(lines)


def _said(difference: Difference) -> str:
    return f"{difference.name}: {difference.was} -> {difference.now.rstrip('.')}. {difference.why}"
