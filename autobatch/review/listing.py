"""One way to list things: as a table for a person, as JSON or as CSV, in every command with the same flags."""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import wraps
from typing import Any, Generic, TypeVar, cast

import click

from autobatch import strict_json
from autobatch.errors import UsageError
from autobatch.review import terminal
from autobatch.review.words import one_line

Row = TypeVar("Row")
Command = TypeVar("Command", bound=Callable[..., Any])


@dataclass(frozen=True)
class Column(Generic[Row]):
    """One column: its name in JSON and CSV, its heading, its value, and the value, or the whole row, in words."""

    name: str
    heading: str
    value: Callable[[Row], Any]
    text: Callable[[Any], str] = one_line
    right: bool = False
    """Figures stand to the right."""
    said: Callable[[Row], str] | None = None

    def cell(self, row: Row) -> str:
        """Return what stands in a table."""
        if self.said is not None:
            return self.said(row)
        value = self.value(row)
        return "" if value is None else self.text(value)


def output_options(command: Command) -> Command:
    """Give a listing command the flags `--json` and `--csv`; it receives `form`, None where neither is given."""

    @click.option("--csv", "as_csv", is_flag=True, help="Print CSV with a header.")
    @click.option("--json", "as_json", is_flag=True, help="Print JSON.")
    @wraps(command)
    def chosen(*arguments: object, as_json: bool, as_csv: bool, **options: object) -> object:
        return command(*arguments, form=one_form(json=as_json, csv=as_csv), **options)

    return cast("Command", chosen)


def one_form(**asked: bool) -> str | None:
    """Return the form of output whose flag is given, by name, or None.

    Raises:
        UsageError: more than one is.

    """
    given = [name for name, is_given in asked.items() if is_given]
    if len(given) > 1:
        flags = " and ".join(f"--{name}" for name in given)
        message = f"{flags} were given together."
        raise UsageError(message, "Give one of them; run the command again for another.")
    return given[0] if given else None


def emit(rows: Iterable[Row], columns: Iterable[Column[Row]], form: str | None, title: str = "") -> None:
    """Print rows on standard output; JSON and CSV are written as the rows come."""
    shown = list(columns)
    if form == "json":
        _json(rows, shown)
    elif form == "csv":
        _csv(rows, shown)
    else:
        _table(rows, shown, title)


def _json(rows: Iterable[Row], columns: list[Column[Row]]) -> None:
    lead = "["
    for row in rows:
        terminal.say(lead + "\n " + strict_json.dumps({column.name: column.value(row) for column in columns}), end="")
        lead = ","
    terminal.say("\n]" if lead == "," else "[]")


def _csv(rows: Iterable[Row], columns: list[Column[Row]]) -> None:
    writer = csv.writer(terminal.tolerant(sys.stdout), lineterminator="\n")
    writer.writerow([column.name for column in columns])
    for row in rows:
        writer.writerow(["" if (value := column.value(row)) is None else value for column in columns])


def _table(rows: Iterable[Row], columns: list[Column[Row]], title: str) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(one_line(title), style="bold") if title else None, title_justify="left", box=None)
    for column in columns:
        table.add_column(Text(column.heading, style="bold"), justify="right" if column.right else "left")
    for row in rows:
        table.add_row(*(Text(column.cell(row)) for column in columns))
    terminal.console(sys.stdout).print(table)
