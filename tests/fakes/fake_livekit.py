"""A LiveKit of the tests' own, that answers as recorded replies and its source say the real one does.

It knows nothing of who asks. Participants are played, not real: they join, publish, are held, muted and removed; the HLS
that an egress would make of them is real, of test pictures.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import secrets
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import aiohttp
from aiohttp import web

from tests.fakes.live_hls import serve_file
from tests.fakes.misbehaving import Temper, serving, with_temper

KEY = "APIfake"
SECRET = "a-secret-of-thirty-two-characters"


class FakeParticipant:
    """Somebody in a room, until removed or gone; a client that publishes again as soon as it may."""

    def __init__(self, room: str, identity: str, *, kind: str, video: bool, hidden: bool, encryption: str) -> None:
        self.room = room
        self.identity = identity
        self.kind = kind
        self.sid = f"PA_{secrets.token_hex(6)}"
        self.joined_at = int(time.time())
        self.attributes: dict[str, str] = {}
        self.permission: dict[str, Any] = {
            "can_subscribe": True,
            "can_publish": video,
            "can_publish_data": True,
            "can_publish_sources": [],
            "hidden": hidden,
            "recorder": False,
            "can_update_metadata": True,
            "agent": False,
            # Something of a later version, that nobody here knows.
            "can_manage_weather": True,
        }
        self.video = video
        self.encryption = encryption
        self.muted: set[str] = set()
        self._over = asyncio.Event()

    @property
    def live(self) -> bool:
        return not self._over.is_set()

    async def ended(self) -> None:
        await self._over.wait()

    async def stop(self) -> None:
        self._over.set()

    @property
    def publishes(self) -> bool:
        return self.live and self.video and bool(self.permission["can_publish"])

    def tracks(self) -> list[dict[str, Any]]:
        if not self.permission["can_publish"]:
            return []
        audio: dict[str, Any] = {
            "sid": f"TR_A{self.sid}",
            "type": "AUDIO",
            "source": "MICROPHONE",
            "mime_type": "audio/opus",
        }
        video: dict[str, Any] = {
            "sid": f"TR_V{self.sid}",
            "type": "VIDEO",
            "source": "CAMERA",
            "mime_type": "video/VP8",
        }
        sizes = {"width": 160, "height": 120, "simulcast": True, "layers": []}
        found = [audio, video | sizes] if self.video else [audio]
        return [{**track, "muted": track["sid"] in self.muted, "encryption": self.encryption} for track in found]

    def document(self) -> dict[str, Any]:
        """Return it as Twirp's JSON has it: names with underscores, 64-bit numbers as texts, defaults written out."""
        return {
            "sid": self.sid,
            "identity": self.identity,
            "state": "ACTIVE" if self.live else "DISCONNECTED",
            "tracks": self.tracks(),
            "metadata": "",
            "joined_at": str(self.joined_at),
            "joined_at_ms": str(self.joined_at * 1000),
            "name": "",
            "version": 0,
            "permission": self.permission,
            "region": "",
            "is_publisher": bool(self.tracks()),
            "kind": self.kind,
            "attributes": self.attributes,
            "disconnect_reason": "UNKNOWN_REASON",
        }


@dataclass
class FakeLiveKit:
    """One server; an async context manager.

    Attributes:
        webhook_url: Told who comes and goes; empty for nobody.
        linger_s: How long somebody who was removed is still listed.
        refuses_updates: Answer ``UpdateParticipant`` as a server that does not know it.
        marks_can_be_set: Whether attributes are known, which they are from version 1.8 on.
        port: 0 takes a free one.
    """

    webhook_url: str = ""
    linger_s: float = 0.0
    refuses_updates: bool = False
    marks_can_be_set: bool = True
    temper: Temper = field(default_factory=Temper)
    rooms: dict[str, dict[str, FakeParticipant]] = field(default_factory=dict)
    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    api_url: str = ""
    hls_url: str = "http://127.0.0.1:1"

    async def __aenter__(self) -> Self:
        self._tasks: set[asyncio.Task[None]] = set()
        async with AsyncExitStack() as stack:
            self._client = await stack.enter_async_context(aiohttp.ClientSession())
            self.api_url = await stack.enter_async_context(serving(self._api()))
            self.hls_url = await stack.enter_async_context(serving(self._hls()))
            self._exit = stack.pop_all()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._exit.aclose()

    async def join(
        self,
        room: str,
        identity: str,
        *,
        kind: str = "STANDARD",
        video: bool = True,
        hidden: bool = False,
        encryption: str = "NONE",
    ) -> FakeParticipant:
        """Have somebody join; whoever is there under the same identity is thrown out."""
        participant = FakeParticipant(room, identity, kind=kind, video=video, hidden=hidden, encryption=encryption)
        present = self.rooms.setdefault(room, {})
        if identity in present:
            await present[identity].stop()
        present[identity] = participant
        self._later(self._forget_when_over(participant))
        await self._tell("participant_joined", participant)
        if video:
            await self._tell("track_published", participant)
        return participant

    def _later(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _forget_when_over(self, participant: FakeParticipant) -> None:
        await participant.ended()
        if self.linger_s:
            await asyncio.sleep(self.linger_s)
        present = self.rooms.get(participant.room, {})
        if present.get(participant.identity) is participant:
            del present[participant.identity]
        await self._tell("participant_left", participant)

    async def _tell(self, event: str, participant: FakeParticipant) -> None:
        if not self.webhook_url:
            return
        document = {
            "event": event,
            "room": {"sid": "RM_x", "name": participant.room, "numParticipants": 1},
            "participant": {"sid": participant.sid, "identity": participant.identity, "joinedAt": "1700000000"},
            "id": f"EV_{secrets.token_hex(6)}",
            "createdAt": str(int(time.time())),
        }
        body = json.dumps(document).encode()
        headers = {"Authorization": webhook_token(body), "Content-Type": "application/webhook+json"}
        # Whatever the answer is, it changes nothing.
        async with self._client.post(self.webhook_url, data=body, headers=headers):
            pass

    def _api(self) -> web.Application:
        app = web.Application(middlewares=[with_temper(self.temper)])
        app.router.add_post("/twirp/livekit.RoomService/{method}", self._answer)
        app.router.add_route("*", "/{rest:.*}", self._no_route)
        return app

    async def _no_route(self, _request: web.Request) -> web.Response:
        return _error(404, "bad_route", "no handler for path")

    async def _answer(self, request: web.Request) -> web.Response:
        grants = _grants(request.headers.get("Authorization", ""))
        if grants is None:
            return web.Response(status=401, text="invalid authorization token")
        method = request.match_info["method"]
        asked = await request.json()
        self.calls.append((method, asked))
        may = grants.get("roomList") if method == "ListRooms" else grants.get("roomAdmin")
        if not may or grants.get("room") != asked.get("room"):
            return _error(401, "unauthenticated", "permissions denied")
        if method == "ListRooms":
            listed = [
                {
                    "sid": "RM_x",
                    "name": name,
                    "num_participants": len(present),
                    "num_publishers": 0,
                    "turn_password": "",
                }
                for name, present in self.rooms.items()
            ]
            return web.json_response({"rooms": listed})
        present = self.rooms.get(asked["room"], {})
        if method == "ListParticipants":
            return web.json_response({"participants": [each.document() for each in present.values()]})
        participant = present.get(asked.get("identity", ""))
        if participant is None or not participant.live:
            return _error(404, "not_found", "participant does not exist")
        return await self._act(method, participant, asked)

    async def _act(self, method: str, participant: FakeParticipant, asked: dict[str, Any]) -> web.Response:
        if method == "RemoveParticipant":
            await participant.stop()
            return web.json_response({})
        if method == "MutePublishedTrack":
            if asked["track_sid"] not in {track["sid"] for track in participant.tracks()}:
                return _error(404, "not_found", "track not found")
            participant.muted.add(asked["track_sid"])
            return web.json_response({"track": {"sid": asked["track_sid"], "muted": True}})
        if method == "UpdateParticipant" and not self.refuses_updates:
            if "permission" in asked:
                # What is left out of the message is false.
                off: dict[str, Any] = dict.fromkeys(participant.permission, False)
                off["can_publish_sources"] = []
                participant.permission = off | asked["permission"]
            if self.marks_can_be_set:
                merged = participant.attributes | asked.get("attributes", {})
                participant.attributes = {key: value for key, value in merged.items() if value}
            return web.json_response(participant.document())
        return _error(501, "unimplemented", "unknown method")

    def _hls(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/{room}/{identity}/{file}", self._serve_hls, allow_head=False)
        return app

    async def _serve_hls(self, request: web.Request) -> web.Response:
        participant = self.rooms.get(request.match_info["room"], {}).get(request.match_info["identity"])
        if participant is None or not participant.publishes:
            return web.Response(status=404)
        return serve_file(request.match_info["file"], began_at=participant.joined_at)


def webhook_token(body: bytes, *, secret: str = SECRET, expires_in_s: int = 300, **claims: object) -> str:
    """Return what stands in a webhook's ``Authorization``."""
    digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
    return token({"iss": KEY, "exp": int(time.time()) + expires_in_s, "sha256": digest} | claims, secret=secret)


def token(claims: dict[str, Any], *, secret: str = SECRET, algorithm: str = "HS256") -> str:
    """Return a JWT, made by hand so that the fake shares no code with what it tests."""
    head = _part(json.dumps({"alg": algorithm, "typ": "JWT"}).encode())
    signed = f"{head}.{_part(json.dumps(claims).encode())}"
    if algorithm == "none":
        return f"{signed}."
    return f"{signed}.{_part(hmac.digest(secret.encode(), signed.encode(), 'sha256'))}"


def _grants(authorization: str) -> dict[str, Any] | None:
    kind, _, encoded = authorization.partition(" ")
    parts = encoded.split(".")
    if kind != "Bearer" or len(parts) != 3:
        return None
    expected = _part(hmac.digest(SECRET.encode(), f"{parts[0]}.{parts[1]}".encode(), "sha256"))
    claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=="))
    if not hmac.compare_digest(expected, parts[2]) or claims["iss"] != KEY or claims["exp"] < time.time():
        return None
    grants: dict[str, Any] = claims["video"]
    return grants


def _part(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _error(status: int, code: str, message: str) -> web.Response:
    return web.json_response({"code": code, "msg": message}, status=status)
