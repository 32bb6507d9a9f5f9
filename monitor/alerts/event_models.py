"""What an alert says: the contract with receivers, as `docs/events.schema.json` has it.

Fields may be added, none is removed or changes its meaning.
"""

from __future__ import annotations

import json
from typing import Annotated, Final, get_args

from pydantic import Field, TypeAdapter

from monitor.alerts.crisis_events import (
    CrisisActivatedEvent,
    CrisisAssessingEvent,
    CrisisConcludedEvent,
    CrisisUpdateEvent,
    CrisisWithdrawnEvent,
    HashesAddedEvent,
    HashesWithdrawnEvent,
)
from monitor.alerts.envelope import Envelope
from monitor.alerts.incident_events import (
    AcknowledgedEvent,
    ClosedEvent,
    ContainedEvent,
    DismissedEvent,
    RaisedEvent,
    ReleasedEvent,
    ReviewOverdueEvent,
    UpdatedEvent,
)
from monitor.alerts.work_events import (
    EffectFailedEvent,
    ReceiptEvent,
    ReceiverDisabledEvent,
    ReviewDecidedEvent,
    ReviewIsOverdueEvent,
    ReviewRequestedEvent,
    WatchBlindEvent,
    WatchRestoredEvent,
)

AnyEvent = Annotated[
    RaisedEvent
    | UpdatedEvent
    | ContainedEvent
    | ReleasedEvent
    | DismissedEvent
    | ClosedEvent
    | AcknowledgedEvent
    | ReviewOverdueEvent
    | ReviewRequestedEvent
    | ReviewDecidedEvent
    | ReviewIsOverdueEvent
    | EffectFailedEvent
    | WatchBlindEvent
    | WatchRestoredEvent
    | ReceiverDisabledEvent
    | ReceiptEvent
    | CrisisAssessingEvent
    | CrisisActivatedEvent
    | CrisisUpdateEvent
    | CrisisConcludedEvent
    | CrisisWithdrawnEvent
    | HashesAddedEvent
    | HashesWithdrawnEvent,
    Field(discriminator="type"),
]
EVENT_MODELS: Final[tuple[type[Envelope], ...]] = get_args(get_args(AnyEvent)[0])
"""One model per type of event."""

EVENT_TYPES: Final[tuple[str, ...]] = tuple(
    get_args(model.model_fields["type"].annotation)[0] for model in EVENT_MODELS
)
"""Every type of event that is documented."""

_ANY_EVENT: Final[TypeAdapter[AnyEvent]] = TypeAdapter(AnyEvent)


def parse(body: bytes) -> AnyEvent:
    """Check an alert's body against the documented model and return it.

    Raises:
        pydantic.ValidationError: it is not one of the documented events.
    """
    return _ANY_EVENT.validate_json(body)


def schema_json() -> str:
    """Return the JSON schema of all events, one definition per type, as it is kept in ``docs/events.schema.json``."""
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Livecordon's alerts",
        **_ANY_EVENT.json_schema(),
    }
    return json.dumps(schema, indent=2) + "\n"
