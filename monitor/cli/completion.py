"""`livecordon completion`: lets a shell complete commands and options."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

_VARIABLE = "_LIVECORDON_COMPLETE"
"""What click asks for when the program is called `livecordon`."""


@click.command()
@click.argument("shell", type=click.Choice(("bash", "zsh", "fish")))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print what a shell needs to complete commands and options.

    For bash, put `eval "$(livecordon completion bash)"` into ~/.bashrc; for zsh likewise into ~/.zshrc; for fish, write the output to
    ~/.config/fish/completions/livecordon.fish.
    """
    kind = get_completion_class(shell)
    assert kind is not None  # noqa: S101 - the choice above names what click knows
    click.echo(kind(context.find_root().command, {}, "livecordon", _VARIABLE).source())
