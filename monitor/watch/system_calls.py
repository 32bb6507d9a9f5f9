"""Which system calls a watcher gives up for good before it opens any video, by a seccomp filter. Linux on x86-64 and ARM64.

A watcher reads from the network and from files, decodes, and writes to its spool: whoever takes it over through a
decoder should find no way to start a program, to look into other processes, to listen, or to reach the parts of the
kernel that hold most of its holes. The list says what is refused rather than what is allowed, since libraries change
what they call; what is refused fails with EPERM, as it would for want of rights.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
import sys
from collections.abc import Collection, Iterable
from typing import Final

# From the kernel's tables: the number on x86-64, and on ARM64, which has no calls that newer ones replace.
_REFUSED: Final[dict[str, tuple[int, int | None]]] = {
    # starting programs
    "execve": (59, 221),
    "execveat": (322, 281),
    "fork": (57, None),
    "vfork": (58, None),
    # other processes
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "kcmp": (312, 272),
    "pidfd_getfd": (438, 438),
    "pidfd_send_signal": (424, 424),
    "kill": (62, 129),
    "tkill": (200, 130),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    # serving
    "bind": (49, 200),
    "listen": (50, 201),
    "accept": (43, 202),
    "accept4": (288, 242),
    # mounts and namespaces
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "unshare": (272, 97),
    "setns": (308, 268),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    # what kernels are attacked through
    "bpf": (321, 280),
    "userfaultfd": (323, 282),
    "perf_event_open": (298, 241),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "personality": (135, 92),
    # the machine as a whole
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "reboot": (169, 142),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "acct": (163, 89),
    "quotactl": (179, 60),
    "settimeofday": (164, 170),
    "adjtimex": (159, 171),
    "clock_settime": (227, 112),
    "clock_adjtime": (305, 266),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    "syslog": (103, 116),
    "iopl": (172, None),
    "ioperm": (173, None),
}

_MACHINES: Final = {"x86_64": (0, 0xC000003E, 317), "aarch64": (1, 0xC00000B7, 277)}
"""Column above, the kernel's name of the architecture, the number of seccomp itself."""
_X32_BIT: Final = 0x40000000
_SOCKET: Final = (41, 198)
_TGKILL: Final = (234, 131)
_CLONE: Final = (56, 220)
_CLONE3: Final = 435
_A_THREAD: Final = 0x00010000
_ADDRESS_FAMILIES: Final = (1, 2, 10, 16)
"""Unix, IPv4, IPv6, and netlink, by which the resolver learns the machine's addresses."""

_SET_MODE_FILTER, _ALL_THREADS = 1, 1
_LOAD, _EQUAL, _AT_LEAST, _HAS_BITS, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _KILL, _REFUSE, _MISSING = 0x7FFF0000, 0x80000000, 0x00050000 | errno.EPERM, 0x00050000 | errno.ENOSYS
_NUMBER_AT, _MACHINE_AT, _FIRST_ARGUMENT_AT = 0, 4, 16


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("steps", ctypes.c_void_p))


def give_up_system_calls(*, but: Collection[str] = ()) -> bool:
    """Refuse the calls above to every thread of this process, now and later; `forbid_new_privileges` must come first.

    Args:
        but: Names of those that this process needs all the same.

    Returns:
        False where the system offers no such thing, or refused.
    """
    machine = _MACHINES.get(platform.machine())
    if sys.platform != "linux" or machine is None or sys.maxsize < 2**32:
        return False
    column, architecture, seccomp = machine
    refused = [numbers[column] for name, numbers in _REFUSED.items() if name not in but]
    steps = _steps(column, architecture, os.getpid(), refused)
    buffer = ctypes.create_string_buffer(steps, len(steps))
    program = _Program(len(steps) // 8, ctypes.cast(buffer, ctypes.c_void_p))
    libc = ctypes.CDLL(None, use_errno=True)
    return int(libc.syscall(seccomp, _SET_MODE_FILTER, _ALL_THREADS, ctypes.byref(program))) == 0


def _steps(column: int, architecture: int, own_pid: int, refused: Iterable[int | None]) -> bytes:
    """Return the filter, in the kernel's packet filter language: what to do for each number, one after the other."""
    steps = [
        _step(_LOAD, _MACHINE_AT),
        _step(_EQUAL, architecture, 1, 0),
        _step(_RETURN, _KILL),
        _step(_LOAD, _NUMBER_AT),
    ]
    if column == 0:
        steps += [_step(_AT_LEAST, _X32_BIT, 0, 1), _step(_RETURN, _REFUSE)]
    for number in refused:
        if number is not None:
            steps += [_step(_EQUAL, number, 0, 1), _step(_RETURN, _REFUSE)]
    # A filter cannot see what clone3 is told, so the C library has to do with clone, which may make threads only.
    steps += [_step(_EQUAL, _CLONE3, 0, 1), _step(_RETURN, _MISSING)]
    steps += [_step(_EQUAL, _CLONE[column], 0, 4), _step(_LOAD, _FIRST_ARGUMENT_AT)]
    steps += [_step(_HAS_BITS, _A_THREAD, 1, 0), _step(_RETURN, _REFUSE), _step(_RETURN, _ALLOW)]
    # Signals to this process itself are how it aborts; sockets are how it reads streams.
    for number, allowed in ((_TGKILL[column], (own_pid,)), (_SOCKET[column], _ADDRESS_FAMILIES)):
        steps += [_step(_EQUAL, number, 0, len(allowed) + 3), _step(_LOAD, _FIRST_ARGUMENT_AT)]
        steps += [_step(_EQUAL, value, len(allowed) - at, 0) for at, value in enumerate(allowed)]
        steps += [_step(_RETURN, _REFUSE), _step(_RETURN, _ALLOW)]
    return b"".join([*steps, _step(_RETURN, _ALLOW)])


def _step(what: int, value: int, if_so: int = 0, if_not: int = 0) -> bytes:
    return struct.pack("=HBBI", what, if_so, if_not, value)
