"""Running the operator's own command that cuts a stream."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Sequence

from monitor.errors import MediaServerRefused, MediaServerUnreachable

_PLACE_OF_NAME = "{name}"


async def run_cut_command(command: Sequence[str], *, name: str, timeout_s: float) -> None:
    """Run a program to its end, without a shell.

    Args:
        command: Program and arguments; ``{name}`` within an argument is replaced and never splits it.
        name: The stream's name.
        timeout_s: After this many seconds the program and all that it started in its process group are killed;
            cancellation does the same at once.

    Raises:
        MediaServerRefused: it cannot be started, or ended with another status than 0.
        MediaServerUnreachable: it did not end in time.
    """
    arguments = [argument.replace(_PLACE_OF_NAME, name) for argument in command]
    try:
        process = await asyncio.create_subprocess_exec(
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        raise MediaServerRefused(f"the cut command cannot be started ({type(error).__name__})") from None
    try:
        async with asyncio.timeout(timeout_s):
            status = await process.wait()
    except TimeoutError:
        raise MediaServerUnreachable(f"the cut command did not end within {timeout_s:g} s", reason="timeout") from None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    if status != 0:
        raise MediaServerRefused(f"the cut command ended with status {status}", reason="command_failed")
