"""Running an operator's own program for one stream: without a shell, bounded, and with names that cannot be anything else."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
from collections.abc import Mapping, Sequence

from monitor.errors import MediaServerRefused, MediaServerUnreachable, UnsafeCallRefused

_PLACE = re.compile(r"\{([a-z_]+)\}")
_SAFE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._~:@+=-]{0,254}")


def filled_in(command: Sequence[str], values: Mapping[str, str]) -> list[str]:
    """Return program and arguments with each ``{word}`` replaced; a value never splits an argument.

    Raises:
        UnsafeCallRefused: a value that is asked for is empty, or holds what a program could take for something else: an
            option, a path, a pattern, a list.
    """

    def put_in(place: re.Match[str]) -> str:
        if place[1] not in values:
            return place[0]
        value = values[place[1]]
        if not _SAFE.fullmatch(value) or ".." in value:
            raise UnsafeCallRefused(f"the stream's {place[1]} cannot be put into a command")
        return value

    return [_PLACE.sub(put_in, argument) for argument in command]


async def run_program(arguments: Sequence[str], *, what: str, timeout_s: float) -> None:
    """Run a program to its end, without a shell.

    Args:
        arguments: The program and its arguments.
        what: How errors call it, such as ``the cut command``.
        timeout_s: After this many seconds the program and all that it started in its process group are killed;
            cancellation does the same at once.

    Raises:
        MediaServerRefused: it cannot be started, or ended with another status than 0.
        MediaServerUnreachable: it did not end in time.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        raise MediaServerRefused(f"{what} cannot be started ({type(error).__name__})") from None
    try:
        async with asyncio.timeout(timeout_s):
            status = await process.wait()
    except TimeoutError:
        raise MediaServerUnreachable(f"{what} did not end within {timeout_s:g} s", reason="timeout") from None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    if status != 0:
        raise MediaServerRefused(f"{what} ended with status {status}", reason="command_failed")


async def ask_program(
    arguments: Sequence[str], question: bytes, *, what: str, timeout_s: float, max_answer_bytes: int
) -> bytes:
    """Run a program to its end, without a shell, and return what it wrote to its standard output.

    Args:
        arguments: The program and its arguments.
        question: Written to its standard input; a program that does not read it is no mistake.
        what: As for `run_program`.
        timeout_s: As for `run_program`.
        max_answer_bytes: It may write so much and no more.

    Raises:
        MediaServerRefused: as for `run_program`, or it wrote too much.
        MediaServerUnreachable: it did not end in time, or ended with status 75, which says to try again later.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        raise MediaServerRefused(f"{what} cannot be started ({type(error).__name__})") from None
    try:
        async with asyncio.timeout(timeout_s):
            _, answer = await asyncio.gather(_tell(process, question), _hear(process, max_answer_bytes, what))
            status = await process.wait()
    except TimeoutError:
        raise MediaServerUnreachable(f"{what} did not end within {timeout_s:g} s", reason="timeout") from None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    if status == os.EX_TEMPFAIL:
        raise MediaServerUnreachable(f"{what} says that the media server does not answer")
    if status != 0:
        raise MediaServerRefused(f"{what} ended with status {status}", reason="command_failed")
    return answer


async def _tell(process: asyncio.subprocess.Process, question: bytes) -> None:
    if process.stdin is None:
        return
    with contextlib.suppress(ConnectionError):
        process.stdin.write(question)
        await process.stdin.drain()
    process.stdin.close()


async def _hear(process: asyncio.subprocess.Process, max_answer_bytes: int, what: str) -> bytes:
    answer = bytearray()
    while process.stdout is not None and (chunk := await process.stdout.read(64 * 1024)):
        answer += chunk
        if len(answer) > max_answer_bytes:
            raise MediaServerRefused(f"{what} wrote more than {max_answer_bytes} bytes", reason="answer_too_large")
    return bytes(answer)
