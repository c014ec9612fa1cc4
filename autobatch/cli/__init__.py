"""The command line: one file a command group, no logic."""

from __future__ import annotations

import contextlib
import sys

import click

from autobatch import __version__
from autobatch.cli import output, usage
from autobatch.cli.interrupts import InterruptedCommandError
from autobatch.errors import AutobatchError
from autobatch.review import words

COMMANDS: dict[str, str] = {
    "cancel": "autobatch.cli.daemon:cancel",
    "check": "autobatch.cli.check:check",
    "completion": "autobatch.cli.completion:completion",
    "daemon": "autobatch.cli.daemon:daemon",
    "dashboard": "autobatch.cli.dashboard:dashboard",
    "doctor": "autobatch.cli.doctor:command",
    "export": "autobatch.cli.export:command",
    "logs": "autobatch.cli.daemon:logs",
    "models": "autobatch.cli.models:command",
    "pause": "autobatch.cli.daemon:pause",
    "plan": "autobatch.cli.plan:plan",
    "queue": "autobatch.cli.daemon:queue",
    "release": "autobatch.cli.release:command",
    "report": "autobatch.cli.report:report",
    "resume": "autobatch.cli.daemon:resume",
    "search": "autobatch.cli.search:command",
    "show": "autobatch.cli.trials:show",
    "status": "autobatch.cli.daemon:status",
    "stop": "autobatch.cli.daemon:stop_search",
    "studies": "autobatch.cli.trials:studies",
    "trials": "autobatch.cli.trials:trials",
    "verify": "autobatch.cli.check:verify",
}
"""Command name -> `module:attribute`; a module is imported only when its command is used, so that `--help` is quick."""


class Lazy(click.Group):
    """A group whose commands are imported when they are used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name every command, without importing one."""
        return sorted({*super().list_commands(ctx), *COMMANDS})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command's module and return the command."""
        target = COMMANDS.get(cmd_name)
        if target is None:
            return super().get_command(ctx, cmd_name)
        module, _, attribute = target.partition(":")
        __import__(module)
        command: click.Command = getattr(sys.modules[module], attribute)
        return command

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: object
    ) -> click.Context:
        """Read the arguments; click's errors are ours."""
        with usage.explained():
            return super().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: click.Context) -> object:
        """Run the command; an interrupt, and what click refuses, has our exit code and our two lines."""
        try:
            with usage.explained():
                return super().invoke(ctx)
        except KeyboardInterrupt as error:
            raise InterruptedCommandError from error


@click.group(cls=Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="autobatch")
def root() -> None:
    """Find the fastest training settings that are safe on this machine."""


def main() -> None:
    """Run the command line; an error of ours is two lines and its exit code, never a traceback."""
    output.guard()
    try:
        try:
            root()
        finally:
            sys.stdout.flush()
    except AutobatchError as error:
        if not isinstance(error, output.ReaderGoneError):
            # where standard error is full as well, the exit code is all that can be said
            with contextlib.suppress(OSError):
                click.echo(words.clean(f"autobatch: {error.what}\n  -> {error.do}"), err=True)
        sys.exit(error.exit_code)
