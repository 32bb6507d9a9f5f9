"""What people do, checked once for the API and the page: review an incident, block and unblock a publisher."""

from __future__ import annotations

from datetime import datetime, timedelta

import structlog
from aiohttp import web

from monitor.units import parse_duration_s
from monitor.vocabulary import ReviewDecision, ReviewReason, StreamRef
from monitor.web import keys
from monitor.web.body import clean_text
from monitor.web.enforcement_values import BlockView
from monitor.web.people_port import Happening, Standing
from monitor.web.port import (
    ReviewOutcome,
    ReviewResult,
)
from monitor.web.refusals import Refusal, RequestRefused
from monitor.web.settings import Role

_log = structlog.get_logger()

WHY_MIN_CHARACTERS = 3
WHY_MAX_CHARACTERS = 2000
WHY_MEND = f"say why in {WHY_MIN_CHARACTERS} to {WHY_MAX_CHARACTERS} characters"
DURATION_MEND = "write how long, such as 12h or 30d, or forever"
MAX_BLOCK_S = 10 * 366 * 86400.0

REVIEW_MENDS = {
    "decision": "write confirm, dismiss, escalate or release",
    "reason": f"write one of {', '.join(ReviewReason)}, or leave it out",
    "why": WHY_MEND,
    "by": "leave it out, or write a name",
}
BLOCK_MENDS = {
    "stream_id": "write the id of a live stream, or server, app and name instead",
    "server": "write a configured server's name",
    "app": "write the application on that server",
    "name": "write the stream's name",
    "for": DURATION_MEND,
    "why": WHY_MEND,
}
UNBLOCK_MENDS = {"why": WHY_MEND}


class ReviewRefused(RequestRefused):
    """A review that came too late or to the wrong incident.

    Attributes:
        review: The decision that stands, if any.
        state: The incident's state; empty when there is none.
        standing: What was done, and what can still be undone.
    """

    def __init__(self, refusal: Refusal, message: str, result: ReviewResult) -> None:
        super().__init__(refusal, message)
        self.review = result.review
        self.state = result.state or None
        self.standing = result.standing or Standing()


async def review(
    request: web.Request,
    incident_id: str,
    decision: str,
    why: str,
    *,
    by: str | None = None,
    reason: str = ReviewReason.OTHER.value,
) -> ReviewResult:
    """Check and record a review; return what was accepted.

    Args:
        request: Whose principal decides; only an admin may name somebody else in `by`.
        incident_id: Any text.
        decision: ``confirm``, ``dismiss``, ``escalate`` or ``release``.
        why: The responder's reason.
        by: For whom an admin acts; recorded together with the admin's own name.
        reason: Why, from the closed list.

    Raises:
        RequestRefused: an invalid field.
        ReviewRefused: no such incident, already decided, closed, or no review awaited.
        StoreError: not recorded.
    """
    principal = request[keys.PRINCIPAL]
    if decision not in {known.value for known in ReviewDecision}:
        message = f"there is no such decision: {REVIEW_MENDS['decision']}"
        raise RequestRefused(Refusal.INVALID_FIELD, message, field="decision")
    if reason not in {known.value for known in ReviewReason}:
        message = f"there is no such reason: {REVIEW_MENDS['reason']}"
        raise RequestRefused(Refusal.INVALID_FIELD, message, field="reason")
    why = checked_why(why)
    reviewer = principal.shown
    if by is not None and principal.role >= Role.ADMIN:
        by = clean_text(by, field="by", min_characters=1, max_characters=100, mend=REVIEW_MENDS["by"])
        reviewer = f"{by} via {principal.shown}"
    result = await request.app[keys.INCIDENTS].review(
        incident_id, ReviewDecision(decision), by=reviewer, why=why, reason=ReviewReason(reason)
    )
    if result.outcome is ReviewOutcome.NOTED:
        _log.info("review_noted", incident_id=incident_id, by=reviewer, people=result.people)
        return result
    if result.outcome is ReviewOutcome.ACCEPTED:
        _log.info("review_accepted", incident_id=incident_id, decision=decision, by=reviewer, state=result.state)
        return result
    raise _review_refused(result)


def _review_refused(result: ReviewResult) -> ReviewRefused:
    refusal, message = _why_refused(result)
    if result.standing is not None:
        message += "".join(f"; {_told(one)}" for one in result.standing.happened)
        message += "".join(f". Still possible: {one.what}" for one in result.standing.undo if one.how)
    return ReviewRefused(refusal, message, result)


def _why_refused(result: ReviewResult) -> tuple[Refusal, str]:
    match result.outcome:
        case ReviewOutcome.UNKNOWN:
            return Refusal.UNKNOWN_INCIDENT, "there is no incident with this id"
        case ReviewOutcome.REPEATED:
            others = result.people - len(result.confirmed_by)
            return Refusal.ALREADY_CONFIRMED, f"you have confirmed already: {others} more must, and each counts once"
        case ReviewOutcome.ALREADY_DECIDED if result.review is not None:
            earlier = result.review
            message = f"already decided: {earlier.decision.value} by {earlier.by} at {earlier.at:%Y-%m-%d %H:%M:%S} UTC"
            return Refusal.ALREADY_DECIDED, message
        case ReviewOutcome.ALREADY_DECIDED:
            return Refusal.ALREADY_DECIDED, "somebody has already decided"
        case ReviewOutcome.CLOSED:
            return Refusal.INCIDENT_CLOSED, f"the incident is closed, in state {result.state}"
        case _:
            return Refusal.REVIEW_NOT_AWAITED, f"in state {result.state} the protocol takes no such decision"


def _told(one: Happening) -> str:
    because = f" ({one.because.replace('_', ' ')})" if one.because else ""
    return f"{one.what.value} at {one.at:%H:%M:%S} by {one.by}{because}"


async def block(request: web.Request, ref: StreamRef, duration: str, why: str) -> BlockView:
    """Check and record a block.

    Raises:
        RequestRefused: an invalid field or an unknown server.
        StoreError: not recorded.
    """
    why = checked_why(why)
    until = _until(request, duration)
    if ref.server not in {server.name for server in request.app[keys.DAEMON].servers()}:
        raise RequestRefused(Refusal.UNKNOWN_SERVER, "no server of this name is configured", field="server")
    by = request[keys.PRINCIPAL].shown
    view = await request.app[keys.BLOCKS].add(ref, until=until, by=by, why=why)
    _log.info("block_added", stream_id=ref.stream_id, by=by, until=None if until is None else until.isoformat())
    return view


async def unblock(request: web.Request, stream_id: str, why: str) -> None:
    """Check and record that a block is lifted.

    Raises:
        RequestRefused: an invalid field, or nothing is blocked under this id.
        StoreError: not recorded.
    """
    why = checked_why(why)
    blocks = request.app[keys.BLOCKS]
    ref = next((view.ref for view in await blocks.blocks() if view.ref.stream_id == stream_id), None)
    by = request[keys.PRINCIPAL].shown
    if ref is None or not await blocks.remove(ref, by=by, why=why):
        raise RequestRefused(Refusal.NOT_BLOCKED, "nothing is blocked under this id")
    _log.info("block_removed", stream_id=ref.stream_id, by=by)


def checked_why(text: str, *, field: str = "why") -> str:
    """Return a person's reason, trimmed.

    Raises:
        RequestRefused: too short, too long, or with control characters.
    """
    return clean_text(
        text, field=field, min_characters=WHY_MIN_CHARACTERS, max_characters=WHY_MAX_CHARACTERS, mend=WHY_MEND
    )


def _until(request: web.Request, duration: str) -> datetime | None:
    if duration == "forever":
        return None
    try:
        duration_s = parse_duration_s(duration)
    except ValueError:
        duration_s = 0.0
    if not 0.0 < duration_s <= MAX_BLOCK_S:
        raise RequestRefused(Refusal.INVALID_FIELD, f"no such duration: {DURATION_MEND}", field="for")
    return request.app[keys.CLOCK].now() + timedelta(seconds=duration_s)
