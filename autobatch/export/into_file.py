"""The steps of `--into` around the merge: read the user's file, show what changes, write it whole."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from autobatch.errors import UsageError
from autobatch.export import files, targets
from autobatch.export.chosen import Chosen
from autobatch.export.merge import Merged, merge
from autobatch.export.summary import remarks
from autobatch.review import words
from autobatch.safe_files import BYTE_ORDER_MARK, read_text


def prepare(chosen: Chosen, path: Path, target: str, *, dry_run: bool = False, said: bool = False) -> Merged:
    """Lay the chosen settings into the text of the user's file, and write nothing yet.

    Args:
        chosen: the settings.
        path: of the user's file.
        target: the format that it is in.
        dry_run: whether it will not be written, so that it need not be writable.
        said: whether the head of a frozen file, which has the remarks on the settings too, is shown beside it.

    Raises:
        UsageError: the format is not YAML, or the file cannot be read, merged into or written.

    """
    kind = targets.get(target)
    if kind.syntax != "yaml":
        what = f"The format {target} is not YAML, and --into merges into YAML alone."
        raise UsageError(what, "Write a file of its own: leave --into out.")
    text = read_text(path, marked=True)
    mark = BYTE_ORDER_MARK * text.startswith(BYTE_ORDER_MARK)
    if not dry_run:
        files.refuse_unwritable(path)
    rivals = {} if chosen.unasked else kind.rivals  # the other keys of a loop's file are what that takes them for
    merged = merge(text.removeprefix(mark), kind.settings(chosen), kind.aliases, path.name, rivals)
    of_settings = () if said else remarks(chosen, target)
    return replace(merged, text=mark + merged.text, remarks=(*of_settings, *merged.remarks))


def report(merged: Merged, path: Path, *, dry_run: bool) -> str:
    """Return the diff, the remarks, and what was done."""
    if not merged.diff:
        done = f"{path} has these settings already; it was not changed."
    else:
        done = f"{path} would change as above." if dry_run else f"Merged into {path}; all its other keys were kept."
    return words.clean("\n".join(part for part in (merged.diff, *merged.remarks, done) if part))


def apply(merged: Merged, path: Path) -> None:
    """Write the merged file, if anything changed."""
    if merged.diff:
        files.write(path, merged.text)
