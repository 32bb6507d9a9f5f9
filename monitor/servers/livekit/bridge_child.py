"""The process in which strangers' WebRTC is decoded: it knows no secret, and asks for a token for each room that it joins.

Started by `monitor.servers.livekit.bridge_process` with two sockets: the one on which it serves, and the one on which it
asks. It ends when nobody is at the other end of that any more.
"""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import sys
from itertools import count
from typing import Final

import structlog

from monitor.errors import MediaServerUnreachable
from monitor.logs import configure_logging
from monitor.servers.livekit.bridge import Bridge
from monitor.servers.livekit.pictures import Subscribe
from monitor.servers.livekit.subscriber import HiddenSubscriber
from monitor.watch.confinement import forbid_core_dumps, forbid_inspection, forbid_new_privileges
from monitor.watch.system_calls import give_up_system_calls

_log = structlog.get_logger()

_SERVING: Final = frozenset({"bind", "listen", "accept", "accept4"})
"""What a watcher gives up as well: here watchers connect, and WebRTC has ports of its own."""


class TokenDesk:
    """Asks the adapter for tokens: a line of JSON with an `id` and a `room`, answered by one with the `id` and a `token`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._numbers = count(1)
        self._waiting: dict[int, asyncio.Future[str]] = {}

    async def token_for(self, room: str) -> str:
        """Return a token to join a room unseen.

        Raises:
            MediaServerUnreachable: the adapter has gone.
        """
        number = next(self._numbers)
        answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        try:
            self._writer.write(json.dumps({"id": number, "room": room}).encode() + b"\n")
            await self._writer.drain()
            return await answer
        except ConnectionError:
            raise MediaServerUnreachable("nobody gives out tokens any more") from None
        finally:
            del self._waiting[number]

    async def run(self) -> None:
        """Hand out the answers until there is nobody to give any."""
        while line := await self._reader.readline():
            answered = json.loads(line)
            waiting = self._waiting.get(answered["id"])
            if waiting is not None and not waiting.done():
                waiting.set_result(answered["token"])


async def serve(listener: socket.socket, control: socket.socket) -> None:
    """Show what the first line on `control` says, until its other end is closed."""
    reader, writer = await asyncio.open_unix_connection(sock=control)
    settings = json.loads(await reader.readline() or b"{}")
    if not settings:
        return
    desk = TokenDesk(reader, writer)
    subscribe: Subscribe = HiddenSubscriber(settings["url"], desk.token_for)
    async with Bridge(subscribe, listener, key=settings["key"], server=settings["server"]):
        await desk.run()
    writer.close()


def main() -> None:
    """Serve on the file descriptors that the command line names."""
    listener, control = (socket.socket(fileno=int(number)) for number in sys.argv[1:])
    configure_logging("info", "json")
    logging.getLogger("livekit").setLevel(logging.WARNING)
    forbid_new_privileges()
    forbid_core_dumps()
    forbid_inspection()
    if not give_up_system_calls(but=_SERVING):
        _log.warning("livekit_bridge_not_confined")
    asyncio.run(serve(listener, control))


if __name__ == "__main__":
    main()
