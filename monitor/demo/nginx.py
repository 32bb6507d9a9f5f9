"""Run a real nginx with its RTMP module on free loopback ports, for the demo and for tests.

The configuration written here is the one that `docs/media-servers/nginx-rtmp.md` tells operators to paste, with
ports and paths of its own, so whatever the demo and the tests show holds for the documented set-up too.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import socket
from pathlib import Path
from types import TracebackType
from typing import Self

import structlog

from monitor.errors import LivecordonError

_log = structlog.get_logger()

_MODULE_PLACES = (
    Path("/usr/lib/nginx/modules/ngx_rtmp_module.so"),
    Path("/usr/lib64/nginx/modules/ngx_rtmp_module.so"),
    Path("/usr/local/lib/nginx/modules/ngx_rtmp_module.so"),
    Path("/usr/share/nginx/modules/ngx_rtmp_module.so"),
)
_INSTALL_HINT = "install Debian's packages nginx and libnginx-mod-rtmp"
# What may stand in a configuration file unquoted; everything with a meaning to nginx ({};$"'\ and blanks) is out.
_PLAIN_URL = re.compile(r"http://[A-Za-z0-9._~:/?&=%\[\]-]+")
_PLAIN_PATH = re.compile(r"/[A-Za-z0-9._/@+-]*")
_APPLICATION = re.compile(r"[A-Za-z0-9_-]{1,64}")
_START_ATTEMPTS = 3
_START_DEADLINE_S = 10.0
_STOP_DEADLINE_S = 5.0
_LOG_TEXT_BYTES = 256 * 1024


class NginxUnavailable(LivecordonError):
    """nginx or its RTMP module is not installed, or nginx did not start."""

    reason = "nginx_unavailable"


def find_nginx() -> tuple[Path, Path]:
    """Return the paths of the nginx program and of its RTMP module.

    Raises:
        NginxUnavailable: one of them is not installed; the message says how to install it.
    """
    program = shutil.which("nginx", path=os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin")))
    if program is None:
        raise NginxUnavailable(f"nginx was not found: {_INSTALL_HINT}")
    for module in _MODULE_PLACES:
        if module.is_file():
            return Path(program), module
    raise NginxUnavailable(f"nginx has no RTMP module: {_INSTALL_HINT}")


def nginx_configuration(
    directory: Path,
    *,
    module: Path,
    rtmp_port: int,
    http_port: int,
    gate_url: str | None = None,
    fail_open: bool = True,
    applications: tuple[str, ...] = ("live",),
    workers: int = 1,
    hls: bool = False,
) -> str:
    """Return the text of a complete nginx configuration that listens on loopback only.

    Args:
        directory: Where nginx keeps its pid, log and temporary files; absolute, without blanks.
        module: Path of ``ngx_rtmp_module.so``.
        rtmp_port: Port for publishers and viewers.
        http_port: Port for ``/stat``, ``/control`` and the fail-open hook.
        gate_url: Publish gate that is asked before anybody may publish; None for no gate.
        fail_open: Let publishers in while the gate does not answer.
        applications: Names of the RTMP applications.
        workers: Worker processes; anything but 1 breaks ``/stat`` and ``/control`` and is there to show just that.
        hls: Write HLS to the folder ``hls`` below `directory`, and serve it at ``/hls``.

    Raises:
        ValueError: a value that would change the meaning of the configuration.
    """
    if not _PLAIN_PATH.fullmatch(str(directory)):
        message = "the directory's path may hold only letters, digits and . _ / @ + -"
        raise ValueError(message)
    if gate_url is not None and not _PLAIN_URL.fullmatch(gate_url):
        message = "the gate's address must be a plain http:// URL"
        raise ValueError(message)
    if not applications or not all(_APPLICATION.fullmatch(name) for name in applications):
        message = "application names may hold only letters, digits, _ and -"
        raise ValueError(message)
    hook = ""
    fail_open_locations = ""
    if gate_url is not None:
        hook_url = f"http://127.0.0.1:{http_port}/livecordon-gate" if fail_open else gate_url
        hook = f"notify_method post;\n      on_publish {hook_url};\n      on_publish_done {hook_url};"
        if fail_open:
            fail_open_locations = f"""
    location = /livecordon-gate {{
      allow 127.0.0.1;
      deny all;
      proxy_pass {gate_url};
      proxy_connect_timeout 1s;
      proxy_read_timeout 3s;
      proxy_intercept_errors off;
      error_page 502 503 504 =200 @allow;
    }}
    location @allow {{ return 200; }}"""
    writes_hls = f"hls on;\n      hls_path {directory}/hls;\n      hls_fragment 1s;" if hls else ""
    serves_hls = f"\n    location /hls {{ root {directory}; }}" if hls else ""
    application_blocks = "".join(
        f"""
    application {name} {{
      live on;
      record off;
      meta copy;
      drop_idle_publisher 10s;
      {hook}
      {writes_hls}
    }}"""
        for name in applications
    )
    # Without this line a master started by root hands its workers to an account that cannot use the directory.
    user = "user root;" if os.geteuid() == 0 else ""
    temporary = "\n".join(
        f"  {kind}_temp_path {directory}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    return f"""load_module {module};
daemon off;
{user}
worker_processes {workers};
pid {directory}/nginx.pid;
error_log {directory}/error.log info;
events {{ worker_connections 512; }}
rtmp {{
  server {{
    listen 127.0.0.1:{rtmp_port};
    chunk_size 4096;
    ping 10s;
    ping_timeout 5s;
    netcall_timeout 5s;{application_blocks}
  }}
}}
http {{
  access_log off;
{temporary}
  server {{
    listen 127.0.0.1:{http_port};
    location /stat {{ rtmp_stat all; allow 127.0.0.1; deny all; }}
    location /control {{ rtmp_control all; allow 127.0.0.1; deny all; }}{serves_hls}{fail_open_locations}
  }}
}}
"""


class RealNginx:
    """An nginx of our own in the foreground, ended with the ``async with`` block.

    Entering raises `NginxUnavailable` when nginx or its RTMP module is missing or nginx does not start within ten
    seconds. Cancelling while it starts, and leaving for whatever reason, ends the process.

    Args:
        directory: An existing, empty folder that nginx may write to.
        gate_url: As in `nginx_configuration`.
        fail_open: As in `nginx_configuration`.
        applications: As in `nginx_configuration`.
        workers: As in `nginx_configuration`.
        hls: As in `nginx_configuration`.
    """

    def __init__(
        self,
        directory: Path,
        *,
        gate_url: str | None = None,
        fail_open: bool = True,
        applications: tuple[str, ...] = ("live",),
        workers: int = 1,
        hls: bool = False,
    ) -> None:
        self._directory = directory.absolute()
        self._gate_url = gate_url
        self._fail_open = fail_open
        self._applications = applications
        self._workers = workers
        self._hls = hls
        self._process: asyncio.subprocess.Process | None = None
        self._rtmp_port = 0
        self._http_port = 0

    @property
    def rtmp_url(self) -> str:
        """Base address for publishers and viewers: ``rtmp://127.0.0.1:<port>``, to be followed by /app/name."""
        return f"rtmp://127.0.0.1:{self._rtmp_port}"

    @property
    def stat_url(self) -> str:
        """Address of the ``rtmp_stat`` location."""
        return f"http://127.0.0.1:{self._http_port}/stat"

    @property
    def control_url(self) -> str:
        """Address of the ``rtmp_control`` location."""
        return f"http://127.0.0.1:{self._http_port}/control"

    @property
    def hls_url(self) -> str:
        """Where HLS is served, to be followed by /name.m3u8, if nginx writes any."""
        return f"http://127.0.0.1:{self._http_port}/hls"

    @property
    def hls_folder(self) -> Path:
        """Where HLS is written, if it is."""
        return self._directory / "hls"

    @property
    def rtmp_port(self) -> int:
        """Port for publishers and viewers; 0 before the start."""
        return self._rtmp_port

    def log_text(self) -> str:
        """Return the end of nginx's error log, up to 256 KiB; it holds stream names and addresses."""
        try:
            with (self._directory / "error.log").open("rb") as log_file:
                log_file.seek(0, os.SEEK_END)
                log_file.seek(max(0, log_file.tell() - _LOG_TEXT_BYTES))
                return log_file.read().decode("utf-8", "replace")
        except FileNotFoundError:
            return ""

    async def __aenter__(self) -> Self:
        program, module = find_nginx()
        for _ in range(_START_ATTEMPTS):
            # Another program may take a port between our look and nginx's bind, so a failed start is tried anew.
            if await self._start(program, module):
                return self
        raise NginxUnavailable(f"nginx did not start; its log ends: {self.log_text()[-500:]}")

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop()

    async def stop(self) -> None:
        """End nginx at once; does nothing when it does not run."""
        process, self._process = self._process, None
        if process is None or process.returncode is not None:
            return
        process.terminate()
        try:
            await asyncio.wait_for(asyncio.shield(process.wait()), _STOP_DEADLINE_S)
        except TimeoutError:
            process.kill()
            await process.wait()
        except asyncio.CancelledError:
            process.kill()
            raise

    async def _start(self, program: Path, module: Path) -> bool:
        self._rtmp_port, self._http_port = two_free_ports()
        configuration = self._directory / "nginx.conf"
        configuration.write_text(
            nginx_configuration(
                self._directory,
                module=module,
                rtmp_port=self._rtmp_port,
                http_port=self._http_port,
                gate_url=self._gate_url,
                fail_open=self._fail_open,
                applications=self._applications,
                workers=self._workers,
                hls=self._hls,
            ),
            encoding="utf-8",
        )
        error_log = self._directory / "error.log"
        self._process = await asyncio.create_subprocess_exec(
            str(program),
            *("-p", str(self._directory), "-e", str(error_log), "-c", str(configuration)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            ready = await self._wait_until_ready(self._process)
        except BaseException:
            await self.stop()
            raise
        if not ready:
            await self.stop()
            return False
        _log.info("nginx_started", rtmp_port=self._rtmp_port, http_port=self._http_port, workers=self._workers)
        return True

    async def _wait_until_ready(self, process: asyncio.subprocess.Process) -> bool:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _START_DEADLINE_S
        while process.returncode is None and loop.time() < deadline:
            if await _answers(self._http_port) and await _answers(self._rtmp_port):
                # A connect could also have reached a stranger who took the port; then nginx is on its way out.
                await asyncio.sleep(0.05)
                return process.returncode is None
            await asyncio.sleep(0.02)
        return False


async def _answers(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return True


def two_free_ports() -> tuple[int, int]:
    """Return two TCP ports on loopback that were free a moment ago."""
    with socket.socket() as first, socket.socket() as second:
        first.bind(("127.0.0.1", 0))
        second.bind(("127.0.0.1", 0))
        return first.getsockname()[1], second.getsockname()[1]
