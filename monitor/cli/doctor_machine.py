"""What the doctor looks at on the machine itself: codecs, clock, ports, folders, disks, memory."""

from __future__ import annotations

import ctypes
import os
import shutil
import stat
import struct
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from monitor.cli.check import occupied_ports
from monitor.cli.doctor_finding import Finding, Grade
from monitor.config.loading import LoadedConfig
from monitor.daemon.gauges import folders_of
from monitor.daemon.place import store_place
from monitor.errors import ProblemsError
from monitor.video.codecs import hardware_decoders, missing_decoders

_MIB: Final = 1024**2
_GIB: Final = 1024**3
_FULL_BYTES: Final = 256 * _MIB
"""With less the store may refuse at any moment."""
_SHARE_LEFT: Final = 0.1
"""The share of a disk below which the alert rules cry out, too."""

_STREAM_BYTES: Final = 15 * _MIB
_WATCHER_BYTES: Final = 300 * _MIB
_DAEMON_BYTES: Final = 200 * _MIB
_NETWORK_FILE_SYSTEMS: Final = frozenset({"nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs", "glusterfs", "ceph"})

_DRIFT_S: Final = 0.05
_STA_UNSYNC: Final = 0x0040
_TIMEX_BYTES: Final = 256
"""More than the kernel's `struct timex` takes; `status` stands at byte 40 where a long has eight bytes."""
_STATUS_AT: Final = 40
_UNCERTAIN_S: Final = 1.0
_MAX_ERROR_AT: Final = 24


def codecs() -> Iterator[Finding]:
    """Say what cannot be decoded, and what hardware could."""
    missing = missing_decoders()
    if missing:
        grade = Grade.WRONG if "h264" in missing else Grade.WARNING
        yield Finding(grade, "codecs", f"cannot decode {', '.join(missing)}", "install PyAV from its own wheels")
    else:
        yield Finding(Grade.OK, "codecs", "all that are watched can be decoded")
    # Streams are decoded a few frames at a time: moving them to a device and back costs more than it saves.
    known = ", ".join(hardware_decoders()) or "none"
    yield Finding(Grade.OK, "hwaccel", f"video is decoded by the processor; the libraries know: {known}")


def who_we_are() -> Iterator[Finding]:
    """Warn of running as root."""
    if os.geteuid() == 0:
        mend = "give it a user of its own, or set watch.run_as_user"
        yield Finding(Grade.WARNING, "user", "this is root, and the daemon needs no root", mend)


def folders(loaded: LoadedConfig) -> Iterator[Finding]:
    """Say which folders cannot be written, and which anybody can read."""
    config = loaded.config
    for name, folder in {"data_dir": config.data_dir, **_places(loaded)}.items():
        there = _existing(folder)
        if (why := _why_not_writable(there)) is not None:
            mend = f"make it, owned by the user that runs Livecordon (now {os.geteuid()})"
            yield Finding(Grade.WRONG, "permissions", f"{name}: {folder} cannot be written ({why})", mend)
        elif there == folder and (mode := stat.S_IMODE(folder.stat().st_mode)) & 0o007:
            mend = f"chmod o= {folder}"
            yield Finding(Grade.WARNING, "permissions", f"{name}: everybody here may look into it ({mode:04o})", mend)
        else:
            yield Finding(Grade.OK, "permissions", f"{name} can be written")


def disks(loaded: LoadedConfig) -> Iterator[Finding]:
    """Say where there is too little room, or none that is this machine's own."""
    watch = loaded.config.watch
    for use, folder in _places(loaded).items():
        try:
            usage = shutil.disk_usage(_existing(folder))
        except OSError as error:
            yield Finding(Grade.UNKNOWN, "disk", f"{use}: {error.strerror}")
            continue
        needed = watch.ring_total_bytes if use == "spool" else 0
        packages = usage.free // max(1, watch.ring_bytes)
        what = f"{use}: {usage.free / _GIB:.1f} GiB free" + (
            f", at least {packages} packages of evidence" if use == "evidence" and watch.ring else ""
        )
        if usage.free < _FULL_BYTES:
            yield Finding(Grade.WRONG, "disk", what, "make room: what cannot be written cannot be kept")
        elif usage.free < needed or usage.free < _SHARE_LEFT * usage.total:
            mend = "make room, or lower watch.ring_total_bytes" if use == "spool" else "make room"
            yield Finding(Grade.WARNING, "disk", what, mend)
        else:
            yield Finding(Grade.OK, "disk", what)
        kind = _file_system(_existing(folder))
        if kind in _NETWORK_FILE_SYSTEMS and use != "evidence":
            yield Finding(Grade.WARNING, "disk", f"{use}: on a network drive ({kind})", "use a disk of this machine")


def memory(loaded: LoadedConfig, streams: int) -> Iterator[Finding]:
    """Compare what `streams` streams take (0: nobody knows how many) with the memory that is free."""
    free = _available_bytes()
    if free is None:
        yield Finding(Grade.UNKNOWN, "memory", "this system does not tell how much is free")
        return
    watchers = loaded.config.watch.watchers or len(os.sched_getaffinity(0))
    base = _DAEMON_BYTES + (watchers + 1) * _WATCHER_BYTES
    if streams == 0:
        most = max(0, free - base) // _STREAM_BYTES
        yield Finding(Grade.OK, "memory", f"{free / _GIB:.1f} GiB free, enough for {most} ordinary streams")
        return
    needed = base + streams * _STREAM_BYTES
    what = f"{free / _GIB:.1f} GiB free; {streams} streams take about {needed / _GIB:.1f}"
    if needed > free:
        yield Finding(Grade.WRONG, "memory", what, "add memory, or watch fewer streams here")
    else:
        yield Finding(Grade.OK, "memory", what)


def ports(loaded: LoadedConfig) -> Iterator[Finding]:
    """Warn of addresses that cannot be listened on."""
    taken = list(occupied_ports(loaded))
    yield from (Finding(Grade.WARNING, "ports", str(problem)) for problem in taken)
    if not taken:
        yield Finding(Grade.OK, "ports", "free")


class Clocks(NamedTuple):
    """Both clocks at one moment, in seconds."""

    wall_s: float
    monotonic_s: float


def clocks() -> Clocks:
    """Read both clocks."""
    return Clocks(time.time(), time.monotonic())


def clock(began: Clocks) -> Iterator[Finding]:
    """Compare both clocks since `began`, and ask the kernel whether somebody keeps the time right."""
    now = clocks()
    drift_s = (now.wall_s - began.wall_s) - (now.monotonic_s - began.monotonic_s)
    if abs(drift_s) > _DRIFT_S:
        what = f"the wall clock moved by {drift_s:+.2f} s against the monotonic one within seconds"
        yield Finding(Grade.WARNING, "clock", what, "let one service keep the time, by slewing and not by stepping")
    match synchronised():
        case None:
            yield Finding(Grade.UNKNOWN, "clock", "this system does not tell whether its time is kept right")
        case True:
            yield Finding(Grade.OK, "clock", "kept right by a time service")
        case False:
            mend = "run systemd-timesyncd or chrony: signatures of alerts are refused when clocks differ by minutes"
            yield Finding(Grade.WARNING, "clock", "no time service keeps it right", mend)


def synchronised() -> bool | None:
    """Return whether the kernel says that its clock is disciplined; None where it cannot be asked."""
    if sys.platform != "linux" or struct.calcsize("l") != 8:  # pragma: no cover - other machines
        return None
    answer = ctypes.create_string_buffer(_TIMEX_BYTES)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.adjtimex(answer) < 0:
        return None
    (status,) = struct.unpack_from("i", answer.raw, _STATUS_AT)
    (max_error_us,) = struct.unpack_from("l", answer.raw, _MAX_ERROR_AT)
    return not status & _STA_UNSYNC and max_error_us < _UNCERTAIN_S * 1e6


def _places(loaded: LoadedConfig) -> dict[str, Path]:
    try:
        store = store_place(loaded, os.environ)
    except ProblemsError:
        # `configuration` says so.
        store = loaded.config.store_path
    return dict(folders_of(loaded.config, store))


def _existing(folder: Path) -> Path:
    return next(place for place in (folder, *folder.parents) if place.exists())


def _why_not_writable(folder: Path) -> str | None:
    try:
        with tempfile.TemporaryFile(dir=folder):
            return None
    except OSError as error:
        return error.strerror or type(error).__name__


def _file_system(folder: Path) -> str | None:
    """Return the kind of file system that holds a folder; None where the system does not tell."""
    try:
        mounts = Path("/proc/self/mounts").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    kinds = {fields[1]: fields[2] for line in mounts if len(fields := line.split(" ")) > 2}
    real = folder.resolve()
    return next((kinds[str(place)] for place in (real, *real.parents) if str(place) in kinds), None)


def _available_bytes() -> int | None:
    try:
        text = Path("/proc/meminfo").read_text(encoding="ascii")
    except OSError:
        return None
    found = [int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith("MemAvailable:")]
    limit = _own_limit_bytes()
    return min([*found, *([] if limit is None else [limit])], default=None)


def _own_limit_bytes() -> int | None:
    """Return what a container leaves us, by its control group."""
    try:
        group = Path("/sys/fs/cgroup")
        most = (group / "memory.max").read_text(encoding="ascii").strip()
        used = int((group / "memory.current").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
    return None if most == "max" else max(0, int(most) - used)
