"""Watchers as a user of their own, where the daemon runs as root: what takes one over owns nothing."""

from __future__ import annotations

import codecs
import os
import pwd
from dataclasses import dataclass
from pathlib import Path

import structlog

from monitor.errors import WatcherError
from monitor.watch import confinement
from monitor.watch.system_calls import give_up_system_calls

log = structlog.get_logger()

_LATE_CODECS = ("ascii", "latin-1", "idna")
"""Python looks for these when they are first used, in folders that may be closed to the new user."""


@dataclass(frozen=True, slots=True)
class WatcherUser:
    """Who watchers are."""

    user_id: int
    group_id: int

    @classmethod
    def named(cls, name: str) -> WatcherUser:
        """Return the user of this name.

        Raises:
            WatcherError: there is none, it is root, or this process may not become anybody else.
        """
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            entry = None
        if entry is None or entry.pw_uid == 0 or os.geteuid() != 0:
            raise WatcherError("watchers cannot run as the user that was asked for", reason="user_unusable")
        return cls(entry.pw_uid, entry.pw_gid)


def confine(*, user_name: str | None, refuse_system_calls: bool, spool: Path | None, parent_pid: int) -> Path | None:
    """Give up, in every thread and for good, what reading video does not need; the last thing before any is opened.

    Args:
        user_name: Whom to become, with no other group; None stays who this process is.
        refuse_system_calls: Whether to give up what `monitor.watch.system_calls` lists, where the system can do that.
        spool: The spool's folder.
        parent_pid: With whom to die, as `confinement.die_with_parent`: the kernel forgets that with the old user. 0 for nobody.

    Returns:
        The spool's folder under a name that works from now on, whatever the folders above it allow.

    Raises:
        WatcherError: the user cannot be had.
    """
    if user_name is not None:
        user = WatcherUser.named(user_name)
        for name in _LATE_CODECS:
            codecs.lookup(name)
        if spool is not None:
            spool = Path(f"/proc/self/fd/{os.open(spool, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW)}")
        os.setgroups([])
        os.setresgid(user.group_id, user.group_id, user.group_id)
        os.setresuid(user.user_id, user.user_id, user.user_id)
        if parent_pid:
            confinement.die_with_parent(parent_pid)
    if refuse_system_calls and not give_up_system_calls():
        log.warning("system_calls_not_refused")
    return spool
