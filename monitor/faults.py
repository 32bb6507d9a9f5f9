"""Named points at which a test makes the daemon die, as the kernel or a power cut would. Off unless it is asked for.

Set ``_LIVECORDON_DIE_AT`` to a point's name, and the process kills itself with SIGKILL when it gets there. The crash test runs
through every point of `POINTS`, so that none can be added without proof of what happens after it.
"""

from __future__ import annotations

import os
import signal
from typing import Final

VARIABLE: Final = "_LIVECORDON_DIE_AT"

POINTS: Final = {
    "detection_received": "a detection came up; nothing was decided",
    "decision_half_written": "some rows of a decision are written; its transaction is open",
    "decision_committed": "a decision is durable; nothing of it has begun",
    "effect_taken_up": "the runner took an effect from the store, and has not noted that it begins",
    "preserve_begun": "evidence is about to be asked for",
    "evidence_half_written": "files of an evidence package are written; it has no manifest and no place yet",
    "evidence_written": "the package is in its place; nobody knows",
    "deadline_due": "a deadline has passed; nothing was decided",
    "deadline_committed": "what the deadline led to is durable",
    "block_ended": "the block's outcome is durable; the cut has not begun",
    "cut_begun": "the attempt is noted; the media server was not asked",
    "cut_done": "the media server has cut, which is proved; no outcome is written",
    "hold_begun": "the attempt to hold is noted; the media server was not asked",
    "hold_done": "the media server holds the stream, which is proved; no outcome is written",
    "release_begun": "the attempt to show a held stream again is noted; the media server was not asked",
    "release_done": "the media server shows the stream again; no outcome is written",
    "outcome_written_before_commit": "an effect's outcome is written; its transaction is open",
    "outcome_committed": "outcome and what the protocol does about it are durable",
    "alert_before_send": "an alert is in the outbox; nothing was sent",
    "alert_sent": "the receiver has taken the alert; nobody wrote that down",
    "alert_recorded": "the delivery is durable",
    "review_received": "a responder decided; nothing is written",
    "review_committed": "the decision is durable; the responder has no answer",
    "unblock_begun": "the attempt to let the publisher in again is noted",
    "closing_half_written": "rows of the last decision are written; its transaction is open",
    "closed": "the incident is closed, durably; nobody was told",
}
"""Every point, with what is true there."""

_armed = os.environ.get(VARIABLE)


def reach(point: str) -> None:
    """Die here, at once, if the test said so; otherwise do nothing."""
    if _armed is not None and point == _armed:
        os.kill(os.getpid(), signal.SIGKILL)
