"""`completion`: completion of commands and options in a shell."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

_VARIABLE = "_AUTOBATCH_COMPLETE"
_HOW = (
    '\b\nbash: eval "$(autobatch completion bash)"   in ~/.bashrc'
    '\nzsh:  eval "$(autobatch completion zsh)"    in ~/.zshrc, after compinit'
    "\nfish: autobatch completion fish > ~/.config/fish/completions/autobatch.fish"
)


@click.command(epilog=_HOW)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print what completes autobatch in SHELL."""
    found = get_completion_class(shell)
    assert found
    click.echo(found(context.find_root().command, {}, "autobatch", _VARIABLE).source())
