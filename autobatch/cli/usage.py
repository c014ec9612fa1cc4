"""Click's errors as ours: one line of what is wrong and one of what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from contextlib import contextmanager

import click

from autobatch.errors import UsageError

# before click 8.2 a group without arguments shows its help itself
_HELP = getattr(click.exceptions, "NoArgsIsHelpError", ())


@contextmanager
def explained() -> Iterator[None]:
    """Raise what click refuses as `UsageError`."""
    try:
        yield
    except _HELP:
        raise
    except click.ClickException as error:
        near = _near(error)
        what = error.message if near else error.format_message()
        raise UsageError(what, f"Did you mean {' or '.join(near)}?" if near else _help(error)) from error


def _near(error: click.ClickException) -> list[str]:
    """Return the options or commands most like the one that does not exist."""
    found = list(getattr(error, "possibilities", None) or ())
    context, name = getattr(error, "ctx", None), getattr(error, "command_name", None)
    if found or name is None or context is None:
        return found
    return difflib.get_close_matches(name, context.command.list_commands(context))


def _help(error: click.ClickException) -> str:
    context: click.Context | None = getattr(error, "ctx", None) or click.get_current_context(silent=True)
    return f"`{context.command_path if context else 'autobatch'} --help` lists what it takes."
