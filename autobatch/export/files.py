"""Writing files whole or not at all, and never over a file that is not ours."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from autobatch.errors import UsageError
from autobatch.export.provenance import PREFIX


def sidecar(path: Path) -> Path:
    """Return the file beside `path` that holds the provenance of a format without comments."""
    return path.with_name(path.name + ".autobatch.yaml")


def is_ours(path: Path) -> bool:
    """Tell whether autobatch wrote this file, by its provenance or the one beside it."""
    if sidecar(path).exists():
        return True
    text = path.read_text(encoding="utf-8", errors="replace")
    return any(line.startswith(PREFIX) for line in text.splitlines())


def refuse_foreign(path: Path) -> None:
    """Make sure that writing `path` would not destroy another's file.

    Raises:
        UsageError: there is a folder, or a file that autobatch did not write.

    """
    if path.is_dir():
        what = f"{path} is a folder."
        raise UsageError(what, "Name a file to write.")
    if path.exists() and not is_ours(path):
        what = f"{path} is there already, and autobatch did not write it."
        raise UsageError(what, "Name another file, merge into it with --into, or overwrite it with --force.")


def write(path: Path, text: str) -> None:
    """Write a file whole or not at all; a file that was there keeps its permissions.

    Raises:
        UsageError: the folder is not there or cannot be written.

    """
    target = path.resolve()
    try:
        mode = target.stat().st_mode & 0o777 if target.exists() else 0o666 & ~_umask()
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        try:
            with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            temporary = Path(name)
            temporary.chmod(mode)
            temporary.replace(target)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        what = f"Cannot write {path}: {error.strerror or error}."
        raise UsageError(what, "Name a file in a folder that is there and can be written.") from error


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
