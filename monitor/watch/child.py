"""One watcher process as the daemon sees it: started, fed, listened to with suspicion, and ended."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import structlog

import monitor
from monitor.classify.remote import ENVIRONMENT_VARIABLE as REMOTE_VARIABLE
from monitor.clock import Clock
from monitor.errors import WatcherError
from monitor.vocabulary import Posture, WatchState
from monitor.watch.framing import decode_upward, encode_frame, receive_frame
from monitor.watch.heartbeat import Heartbeat
from monitor.watch.messages import (
    Assign,
    Evidence,
    Message,
    Observation,
    OfStream,
    Ping,
    Pong,
    Ready,
    Release,
    RequestEvidence,
    RequestVideo,
    SetPosture,
    ShadowScores,
    StreamStatus,
    Upward,
    Video,
    WatcherFault,
    WatcherStats,
)
from monitor.watch.relay import relay_log
from monitor.watch.settings import WatchSettings
from monitor.watch.vital_signs import look_at

log = structlog.get_logger()

_STDERR_LINE_BYTES: Final = 64 * 1024
_UNREAD_LIMIT_BYTES: Final = 4 * 1024 * 1024
_LEFT_REMEMBERED_S: Final = 300.0
_REAP_S: Final = 5.0
_MESSAGES_PER_S: Final = 400
_MESSAGES_PER_STREAM_PER_S: Final = 40

# Everything else in the daemon's environment may be a secret, and this process meets hostile video.
_ENVIRONMENT_NAMES: Final = frozenset(
    {"PATH", "LD_PRELOAD", "HOME", "LANG", "TZ", "TMPDIR", "http_proxy", "https_proxy", "no_proxy"}
)
_ENVIRONMENT_PREFIXES: Final = ("LC_", "LD_LIBRARY_", "CUDA_", "NVIDIA_", "ORT_", "SSL_CERT_")


@dataclass(frozen=True, slots=True)
class Ending:
    """Why a watcher process is no longer used.

    Attributes:
        reason: One of `monitor.metrics.RESTART_REASONS`.
        detail: A static word that says more.
        fault: What the watcher said before it ended, if it did.
    """

    reason: str
    detail: str
    fault: WatcherFault | None = None

    @property
    def blames_streams(self) -> bool:
        """Whether a stream may be the cause; a classifier that fails is not the streams' doing."""
        return self.fault is None or self.fault.reason == "stream_hung"


class _Breach(WatcherError):
    """The watcher sent something that the seam does not allow."""


@dataclass(slots=True, eq=False)
class WatcherChild:
    """One process from its start to its end. `run` does the work; `reap` must follow it, whatever happened.

    Attributes:
        member: The number under which it is known.
        on_ready: Called once, when its model is loaded.
        on_message: Called with whatever it says of a stream that it has been assigned.
        on_stats: Called with its running totals, before `stats` changes.
        ready: What it said when it was ready; None before.
        ready_at_s: When that was, on the clock's monotonic time.
        streams: The streams that it has, and their watch states as it last told.
        stats: Its latest running totals.
    """

    member: int
    settings: WatchSettings
    clock: Clock
    on_ready: Callable[[WatcherChild], None]
    on_message: Callable[[WatcherChild, OfStream], None]
    on_stats: Callable[[WatcherChild, WatcherStats], None]
    ready: Ready | None = None
    ready_at_s: float = 0.0
    streams: dict[str, WatchState | None] = field(default_factory=dict)
    stats: WatcherStats | None = None
    _process: Process | None = None
    _relay: asyncio.Task[None] | None = None
    _left_s: dict[str, float] = field(default_factory=dict)
    _requests: dict[int, tuple[str, type[Message], asyncio.Future[Evidence | Video | None]]] = field(
        default_factory=dict
    )
    _overdue_requests: set[int] = field(default_factory=set)
    _last_request: int = 0
    _heartbeat: Heartbeat = field(init=False, repr=False)
    _fault: WatcherFault | None = None
    _ended: bool = False
    _retired: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self._heartbeat = Heartbeat(self.settings, lambda: None if self.pid is None else look_at(self.pid))

    @property
    def pid(self) -> int | None:
        """The process's number, or None while there is none."""
        return None if self._process is None else self._process.pid

    def assign(self, stream_id: str, url: str, posture: Posture, tries: int = 0, weight: float = 1.0) -> None:
        """Have the process watch a stream that has failed `tries` times; again, it tries at once if it was waiting."""
        self.streams.setdefault(stream_id, None)
        self._left_s.pop(stream_id, None)
        self._send(Assign(stream_id=stream_id, url=url, posture=posture, tries=tries, weight=weight))

    def release(self, stream_id: str) -> None:
        """Have the process stop watching a stream; what it still says about it is not passed on."""
        now_s = self.clock.monotonic_s()
        self.streams.pop(stream_id, None)
        self._left_s = {known: left_s for known, left_s in self._left_s.items() if left_s > now_s - _LEFT_REMEMBERED_S}
        self._left_s[stream_id] = now_s
        self._send(Release(stream_id=stream_id))

    def set_posture(self, stream_id: str, posture: Posture, weight: float = 1.0) -> None:
        """Have the process watch a stream more or less closely."""
        self._send(SetPosture(stream_id=stream_id, posture=posture, weight=weight))

    async def evidence(self, stream_id: str, deadline_s: float) -> Evidence | None:
        """Ask for what is kept of a stream; None when no answer comes within `deadline_s` seconds or the process ends."""
        request_id = self._next_request()
        request = RequestEvidence(request_id=request_id, stream_id=stream_id)
        answer = await self._ask(request, Evidence, deadline_s)
        return answer if isinstance(answer, Evidence) else None

    async def video(self, stream_id: str, folder: Path, deadline_s: float) -> Video | None:
        """Have a stream's last minute written into `folder`; None as for `evidence`. Any watcher may be asked."""
        request_id = self._next_request()
        request = RequestVideo(request_id=request_id, stream_id=stream_id, folder=str(folder))
        answer = await self._ask(request, Video, deadline_s)
        return answer if isinstance(answer, Video) else None

    def _next_request(self) -> int:
        self._last_request += 1
        return self._last_request

    async def _ask(
        self, request: RequestEvidence | RequestVideo, kind: type[Evidence | Video], deadline_s: float
    ) -> Evidence | Video | None:
        if self._ended:
            return None
        request_id = request.request_id
        answer: asyncio.Future[Evidence | Video | None] = asyncio.get_running_loop().create_future()
        self._requests[request_id] = (request.stream_id, kind, answer)
        self._send(request)
        try:
            async with asyncio.timeout(deadline_s):
                return await answer
        except TimeoutError:
            return None
        finally:
            if self._requests.pop(request_id, None) is not None:
                self._overdue_requests.add(request_id)

    def retire(self) -> None:
        """Let `run` return: the process is not needed any more."""
        self._retired.set()

    async def run(self) -> Ending:
        """Start the process and listen to it until it ends, breaks the rules or falls silent; kills it then.

        Cancellation kills the process too. Either way `reap` must be awaited afterwards.
        """
        try:
            self._process = process = await asyncio.create_subprocess_exec(
                *self.settings.arguments(os.getpid()),
                stdin=PIPE,
                stdout=PIPE,
                stderr=PIPE,
                limit=_STDERR_LINE_BYTES,
                env=_environment(self.settings),
                start_new_session=True,  # Ctrl-C in a terminal is the daemon's business
                pass_fds=self.settings.inherited,
            )
        except OSError as error:
            log.error("watcher_not_started", watcher=self.member, errno=error.errno)  # noqa: TRY400 - errno says it all
            return Ending("exit", "not_started")
        assert process.stdout is not None  # noqa: S101 - for mypy: PIPE was asked for
        assert process.stderr is not None  # noqa: S101 - as above
        self._relay = asyncio.create_task(relay_log(process.stderr, self.member))
        tasks = {
            asyncio.create_task(self._listen(process.stdout)),
            asyncio.create_task(self._check()),
            asyncio.create_task(self._await_retirement()),
        }
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            return next(iter(done)).result()
        finally:
            for task in tasks:
                task.cancel()
            self._kill()
            self._ended = True
            for _, _, answer in self._requests.values():
                if not answer.done():
                    answer.set_result(None)

    async def reap(self) -> int | None:
        """Kill the process if it still runs, and wait until nothing of it is left, even when cancelled meanwhile.

        Returns:
            Its exit status, or None if there was no process.
        """
        reaping = asyncio.create_task(self._reap())
        try:
            return await asyncio.shield(reaping)
        except asyncio.CancelledError:
            await reaping
            raise

    async def _reap(self) -> int | None:
        self._kill()
        process = self._process
        if process is None:
            return None
        if self._relay is not None:
            # Its last words are in the pipe, which ends now that the process is dead.
            await asyncio.wait({self._relay}, timeout=_REAP_S)
            self._relay.cancel()
            await asyncio.wait({self._relay})
        with contextlib.suppress(BrokenPipeError, ConnectionResetError, TimeoutError):
            # Reads what is left in the pipes (a pipe holds little) so that their transports close.
            async with asyncio.timeout(_REAP_S):
                await process.communicate()
        if process.returncode is None:
            log.error("watcher_not_reaped", watcher=self.member, pid=process.pid)
        return process.returncode

    def _kill(self) -> None:
        if self._process is None or self._process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            # Not `Process.kill`: it reaps a process that is dead already, and asyncio then loses the exit status.
            # The number cannot be another process's yet: asyncio reaps it, and sets `returncode` when it has.
            os.kill(self._process.pid, signal.SIGKILL)

    def _send(self, message: Message) -> None:
        if self._process is None or self._process.stdin is None or self._process.stdin.is_closing():
            return
        self._process.stdin.write(encode_frame(message))

    async def _await_retirement(self) -> Ending:
        await self._retired.wait()
        return Ending("exit", "retired")

    async def _listen(self, stdout: asyncio.StreamReader) -> Ending:
        second, messages = 0, 0
        try:
            while (body := await receive_frame(stdout)) is not None:
                now = int(self.clock.monotonic_s())
                second, messages = (second, messages + 1) if now == second else (now, 1)
                if messages > _MESSAGES_PER_S + _MESSAGES_PER_STREAM_PER_S * len(self.streams):
                    raise _Breach("more messages than its streams can give rise to", reason="flood")
                self._take(decode_upward(body))
                if self._fault is not None:
                    return Ending("fault", self._fault.reason, self._fault)
        except WatcherError as error:
            return Ending("seam", error.reason)
        return Ending("exit", "ended")

    def _take(self, message: Upward) -> None:
        if self.ready is None and not isinstance(message, Ready | WatcherFault):
            raise _Breach("a message before the first one", reason="not_ready")
        match message:
            case Ready():
                self._take_ready(message)
            case Observation() | ShadowScores():
                self._take_scores(message)
            case StreamStatus(stream_id=stream_id):
                if self._is_ours(stream_id):
                    self.streams[stream_id] = message.state
                    self.on_message(self, message)
            case (
                Evidence(request_id=request_id, stream_id=stream_id) | Video(request_id=request_id, stream_id=stream_id)
            ):
                self._answer(request_id, stream_id, message)
            case Pong():
                self._take_pong(message)
            case WatcherFault():
                self._fault = message

    def _take_ready(self, message: Ready) -> None:
        if self.ready is not None or not message.labels:
            raise _Breach("ready twice, or without labels", reason="bad_message")
        self.ready, self.ready_at_s = message, self.clock.monotonic_s()
        self._heartbeat.begin(self.ready_at_s)
        self.on_ready(self)

    def _take_scores(self, message: Observation | ShadowScores) -> None:
        if not self._is_ours(message.stream_id):
            return
        ready, beside = self.ready, message.shadow_scores if isinstance(message, ShadowScores) else ()
        if (
            ready is None
            or len(message.scores) != len(ready.labels)
            or len(beside) not in (0, len(ready.shadow_labels))
        ):
            raise _Breach("as many scores as labels are due", reason="bad_message")
        self.on_message(self, message)

    def _is_ours(self, stream_id: str) -> bool:
        """Whether to pass a stream's message on; one that was released lately may still be talked about."""
        if stream_id in self.streams:
            return True
        if stream_id not in self._left_s:
            raise _Breach("a stream that it never had", reason="unknown_stream")
        return False

    def _answer(self, request_id: int, stream_id: str, message: Evidence | Video) -> None:
        if request_id in self._overdue_requests:
            self._overdue_requests.discard(request_id)
            return
        asked, kind, answer = self._requests.pop(request_id, ("", None, None))
        if answer is None or kind is None or asked != stream_id or not isinstance(message, kind):
            raise _Breach("evidence that nobody asked for", reason="unknown_request")
        if not answer.done():
            answer.set_result(message)

    def _take_pong(self, pong: Pong) -> None:
        if not self._heartbeat.pong(pong.number, pong.progress, self.clock.monotonic_s()):
            raise _Breach("a pong without its ping", reason="bad_message")
        self.on_stats(self, pong.stats)
        self.stats = pong.stats

    async def _check(self) -> Ending:
        """Ping, and judge by what comes back."""
        settings, clock = self.settings, self.clock
        started_s = clock.monotonic_s()
        while True:
            slept_from_s = clock.monotonic_s()
            await clock.sleep(settings.ping_interval_s)
            now_s = clock.monotonic_s()
            if now_s - slept_from_s > 2 * settings.ping_interval_s:
                self._heartbeat.excuse(now_s)
            if self.ready is None:
                if now_s - started_s > settings.ready_timeout_s:
                    return Ending("unresponsive", "not_ready")
                continue
            why = self._heartbeat.judge(now_s, watching=WatchState.WATCHING in self.streams.values())
            if why is not None:
                return Ending("unresponsive", why)
            self._send(Ping(number=self._heartbeat.ping(now_s)))
            if self._unread_bytes() > _UNREAD_LIMIT_BYTES:
                return Ending("unresponsive", "not_reading")

    def _unread_bytes(self) -> int:
        if self._process is None or self._process.stdin is None:
            return 0
        return int(self._process.stdin.transport.get_write_buffer_size())


def _environment(settings: WatchSettings) -> dict[str, str]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if name in _ENVIRONMENT_NAMES or name.startswith(_ENVIRONMENT_PREFIXES)
    }
    # Two arenas instead of eight per core: a tenth less memory per stream, at no cost that could be measured.
    kept["MALLOC_ARENA_MAX"] = "2"
    # Left to itself, the C library raises this bound to the largest piece ever freed, and from then on puts pictures and
    # probe buffers among small, lasting pieces: what streams that come and go leave behind can then not be given back
    # (measured on 24 streams that did so for two minutes: 100 MiB free but held, and growing; with the bound, 15 MiB).
    kept["MALLOC_MMAP_THRESHOLD_"] = str(256 * 1024)
    if settings.remote is not None:
        kept[REMOTE_VARIABLE] = settings.remote.to_variable()
    kept["PYTHONPATH"] = str(Path(monitor.__file__).resolve().parent.parent)
    return kept
