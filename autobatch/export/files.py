"""Writing files whole or not at all, and never over a file that is not ours."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from autobatch.errors import MachineError, UsageError
from autobatch.safe_files import read_text

_OF_THE_DISK = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS})
_ANY_WRITE = stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH


def sidecar(path: Path) -> Path:
    """Return the file beside `path` that holds the provenance of a format without comments."""
    return path.with_name(path.name + ".autobatch.yaml")


def is_ours(path: Path) -> bool:
    """Tell whether a file is as autobatch wrote it, so that nobody's work is lost with it."""
    from autobatch.export.frozen import load

    try:
        return load(path).intact
    except UsageError:
        return False


def is_our_sidecar(path: Path) -> bool:
    """Tell whether a file is provenance alone, as autobatch wrote it."""
    from autobatch.export import provenance

    try:
        text = read_text(path)
        facts = provenance.parse(text, path.name)
    except UsageError:
        return False
    bare = all(line.startswith("#") for line in text.splitlines())
    return bare and facts.get(provenance.CHECKSUM) == provenance.checksum(facts)


def refuse_foreign(path: Path, is_ours: Callable[[Path], bool] = is_ours) -> None:
    """Make sure that writing `path` would not destroy another's file, or another's changes to one of ours.

    Raises:
        UsageError: there is a folder, a device, or a file that autobatch did not write as it is.

    """
    with said_of(path):
        refuse_unwritable(path)
        if path.exists() and not is_ours(path):
            what = f"{path} is there already, and autobatch did not write it, or not all of it."
            raise UsageError(what, "Name another file, merge into it with --into, or overwrite it with --force.")


def refuse_unwritable(path: Path) -> None:
    """Make sure that `path` is a regular file that may be written, or nothing yet.

    Raises:
        UsageError: it is a folder, a device or a pipe, or it is write-protected.

    """
    if path.is_dir():
        what = f"{path} is a folder."
        raise UsageError(what, "Name a file to write.")
    if not path.exists():
        return
    if not path.is_file():
        what = f"{path} is not a regular file."
        raise UsageError(what, "Name a file to write.")
    # root may write everything, and a rename asks for nothing: the mode says what its owner wants
    if not path.stat().st_mode & _ANY_WRITE or not os.access(path, os.W_OK):
        what = f"{path} is write-protected."
        raise UsageError(what, "Make it writable with `chmod u+w`, or name another file.")


def write(path: Path, text: str) -> None:
    """Write a file whole or not at all; a file that was there keeps its owner and its permissions.

    Raises:
        UsageError: the folder is not there or cannot be written, or the path is none to write (`refuse_unwritable`).
        MachineError: the disk is full or fails.

    """
    with said_of(path):
        refuse_unwritable(path)
        target = path.resolve()
        was = target.stat() if target.exists() else None
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        temporary = Path(name)
        try:
            _fill(handle, text)
            if was:
                _give(temporary, was)
            temporary.chmod(was.st_mode & 0o777 if was else 0o666 & ~_umask())
            temporary.replace(target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def _fill(handle: int, text: str) -> None:
    with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


@contextlib.contextmanager
def said_of(path: Path) -> Iterator[None]:
    """Say what the system refuses in our words.

    Raises:
        UsageError: `path` cannot be written.
        MachineError: its disk is full or fails.

    """
    try:
        yield
    except (OSError, ValueError, RuntimeError) as error:  # of a null byte; of links that lead round
        what = f"Cannot write {path}: {getattr(error, 'strerror', None) or error}."
        if getattr(error, "errno", None) in _OF_THE_DISK:
            raise MachineError(what, "Free some space, or name a file on another disk; nothing was changed.") from error
        raise UsageError(what, "Name a file in a folder that is there and can be written.") from error


def _give(path: Path, was: os.stat_result) -> None:
    """Give a file the owner and the group of another, or the group alone, as far as the system lets us."""
    for owner in (was.st_uid, -1):
        with contextlib.suppress(OSError):
            os.chown(path, owner, was.st_gid)
            return


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
