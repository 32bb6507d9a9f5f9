"""Running the operator's own command that cuts a stream."""

from __future__ import annotations

from collections.abc import Sequence

from monitor.servers.command import run_program

_PLACE_OF_NAME = "{name}"


async def run_cut_command(command: Sequence[str], *, name: str, timeout_s: float) -> None:
    """Run a program to its end, without a shell; see `run_program` for errors.

    Args:
        command: Program and arguments; ``{name}`` within an argument is replaced and never splits it.
        name: The stream's name, which the operator chose.
        timeout_s: As for `run_program`.
    """
    arguments = [argument.replace(_PLACE_OF_NAME, name) for argument in command]
    await run_program(arguments, what="the cut command", timeout_s=timeout_s)
