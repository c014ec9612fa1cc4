"""Types of command-line arguments that are files and folders: what is not there is said before anything runs."""

from __future__ import annotations

from argparse import ArgumentTypeError
from pathlib import Path


def surfaces(text: str) -> Path:
    """Return a folder that holds recorded surfaces.

    Raises:
        ArgumentTypeError: it is no folder, or holds no CSV file.

    """
    folder = Path(text)
    if not folder.is_dir():
        message = f"{text} is not a folder."
        raise ArgumentTypeError(message)
    if not any(folder.glob("*.csv")):
        message = f"{text} holds no recorded surface (*.csv)."
        raise ArgumentTypeError(message)
    return folder


def file(text: str) -> Path:
    """Return a file to read.

    Raises:
        ArgumentTypeError: there is none.

    """
    if not Path(text).is_file():
        message = f"there is no file {text}."
        raise ArgumentTypeError(message)
    return Path(text)


def output(text: str) -> Path:
    """Return a file to write.

    Raises:
        ArgumentTypeError: its folder is not there, or it is a folder itself.

    """
    path = Path(text)
    if path.is_dir() or not path.parent.is_dir():
        message = f"{text} is a folder, or in a folder that is not there."
        raise ArgumentTypeError(message)
    return path
