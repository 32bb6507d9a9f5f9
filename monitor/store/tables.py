"""Every table. Times are Unix seconds as REAL, in UTC; JSON columns hold canonical JSON text.

Append-only: `audit`. Everything else is current state. The same definitions serve SQLite and PostgreSQL.
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    false,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(column_0_label)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

definition = Table(
    "definition",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("name", String(48), nullable=False),
    Column("content", Text, nullable=False),
    comment="Protocol definitions that incidents began under, so that each finishes under its own.",
)

incident = Table(
    "incident",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("server", String(48), nullable=False),
    Column("app", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("stream_id", String(80), nullable=False),
    Column("session", Text, nullable=False),
    Column("definition_digest", String(64), ForeignKey("definition.digest"), nullable=False),
    Column("protocol", String(48), nullable=False),
    Column("state", String(64), nullable=False),
    Column("entered_at", Float, nullable=False),
    Column("sequence", Integer, nullable=False),
    Column("severities", JSON, nullable=False),
    Column("max_severity", String(8), nullable=False),
    Column("label", String(64), nullable=False),
    Column("score", Float, nullable=False),
    Column("posture", String(8), nullable=False),
    Column("dry_run", Boolean, nullable=False),
    Column("model", String(128), nullable=False),
    Column("opened_at", Float, nullable=False),
    Column("changed_at", Float, nullable=False),
    Column("closed_at", Float, nullable=True),
    Column("review_due_at", Float, nullable=True),
    Column("review_decision", String(16), nullable=True),
    Column("review_by", String(200), nullable=True),
    Column("review_why", Text, nullable=True),
    Column("review_at", Float, nullable=True),
    Column("strikes", Integer, nullable=False, server_default="0"),
    Column("viewers", Integer, nullable=False, server_default="0"),
    Column("reports", Integer, nullable=False, server_default="0"),
    Column("review_people", Integer, nullable=False, server_default="1"),
    Column("review_confirmed_by", JSON, nullable=False, server_default="[]"),
    Column("review_reason", String(32), nullable=True),
    Column("drill", Boolean, nullable=False, server_default=false()),
    Column("policy", String(48), nullable=True),
    Index("ix_incident_open", "closed_at", "opened_at"),
    Index("ix_incident_stream", "stream_id", "closed_at"),
    comment="One run of a protocol on one stream.",
)

deadline = Table(
    "deadline",
    metadata,
    Column("incident_id", String(36), ForeignKey("incident.id"), primary_key=True),
    Column("key", String(120), primary_key=True),
    Column("due_at", Float, nullable=False, index=True),
    comment="Pending deadlines of open incidents.",
)

effect = Table(
    "effect",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("incident_id", String(36), ForeignKey("incident.id"), nullable=False),
    Column("key", String(120), nullable=False),
    Column("position", Integer, nullable=False),
    Column("kind", String(24), nullable=False),
    Column("parameters", JSON, nullable=False),
    Column("status", String(16), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("requested_at", Float, nullable=False),
    Column("started_at", Float, nullable=True),
    Column("finished_at", Float, nullable=True),
    Column("detail", JSON, nullable=True),
    UniqueConstraint("incident_id", "key"),
    Index("ix_effect_unfinished", "status", "requested_at"),
    comment="Effects to carry out once; status is pending, succeeded, failed or unverified.",
)

audit = Table(
    "audit",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("at", Float, nullable=False),
    Column("incident_id", String(36), nullable=True, index=True),
    Column("actor", String(200), nullable=False),
    Column("action", String(64), nullable=False),
    Column("detail", JSON, nullable=False),
    Column("previous_hash", String(64), nullable=False),
    Column("hash", String(64), nullable=False),
    comment="Append-only, hash-chained: who or what did what, when and why.",
)

delivery = Table(
    "delivery",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("event_id", String(64), nullable=False),
    Column("event_type", String(80), nullable=False),
    Column("incident_id", String(36), nullable=True, index=True),
    Column("sequence", Integer, nullable=False),
    Column("receiver", String(48), nullable=False),
    Column("priority", String(16), nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("status", String(16), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("next_at", Float, nullable=False),
    Column("finished_at", Float, nullable=True),
    Column("last_status", Integer, nullable=True),
    Column("last_reason", String(48), nullable=True),
    UniqueConstraint("event_id", "receiver"),
    Index("ix_delivery_due", "receiver", "status", "next_at"),
    comment="Outbox: one row per alert and receiver; status is pending, delivered, dead or cancelled.",
)

receiver_state = Table(
    "receiver_state",
    metadata,
    Column("receiver", String(48), primary_key=True),
    Column("disabled_at", Float, nullable=True),
    Column("disabled_reason", String(48), nullable=True),
    comment="Receivers that asked for no more alerts (HTTP 410).",
)

block = Table(
    "block",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("server", String(48), nullable=False),
    Column("app", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("until", Float, nullable=False),
    Column("incident_id", String(36), nullable=True, index=True),
    Column("effect_id", String(36), nullable=True, unique=True),
    Column("by", String(200), nullable=False),
    Column("why", Text, nullable=False),
    Column("lifted_at", Float, nullable=True),
    Column("lifted_by", String(200), nullable=True),
    Column("lifted_why", Text, nullable=True),
    Index("ix_block_active", "lifted_at", "until"),
    Index("ix_block_publisher", "server", "app", "name", "lifted_at", "until"),
    comment="Publishers barred from live until a time (strikes).",
)

silence = Table(
    "silence",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("kind", String(8), nullable=False),
    Column("server", String(48), nullable=True),
    Column("pattern", Text, nullable=True),
    Column("owner", String(200), nullable=False),
    Column("reason", Text, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("until", Float, nullable=False),
    Column("ended_at", Float, nullable=True),
    Column("ended_by", String(200), nullable=True),
    Column("ended_why", Text, nullable=True),
    Index("ix_silence_active", "ended_at", "until"),
    comment="Pauses of containment and silences of alerts: whose, why and until when.",
)

review_wait = Table(
    "review_wait",
    metadata,
    Column("incident_id", String(36), ForeignKey("incident.id"), primary_key=True),
    Column("step", Integer, nullable=False),
    Column("next_at", Float, nullable=False, index=True),
    Column("told_at", Float, server_default="0", nullable=False),
    comment="Reviews that nobody has decided: which group of responders has it, and when the next one is told.",
)

acknowledgement = Table(
    "acknowledgement",
    metadata,
    Column("incident_id", String(36), ForeignKey("incident.id"), primary_key=True),
    Column("at", Float, nullable=False),
    Column("by", String(200), nullable=False),
    Column("via", String(16), nullable=False),
    comment="Who said first that they are on an incident.",
)

strike = Table(
    "strike",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("server", String(48), nullable=False),
    Column("scope", String(16), nullable=False),
    Column("stream_id", String(80), nullable=True),
    Column("stream_hash", String(32), nullable=True, index=True),
    Column("account_hash", String(32), nullable=True, index=True),
    Column("address_hash", String(32), nullable=True, index=True),
    Column("policy", String(48), nullable=False),
    Column("origin", String(16), nullable=False),
    Column("context", String(16), nullable=False),
    Column("number", Integer, nullable=False),
    Column("decided_at", Float, nullable=False),
    Column("until", Float, nullable=False),
    Column("expires_at", Float, nullable=False),
    Column("incident_id", String(36), nullable=True, index=True),
    Column("effect_id", String(36), nullable=True, unique=True),
    Column("by", String(200), nullable=False),
    Column("why", Text, nullable=False),
    Column("lifted_at", Float, nullable=True),
    Column("lifted_by", String(200), nullable=True),
    Column("lifted_why", Text, nullable=True),
    Index("ix_strike_standing", "lifted_at", "expires_at"),
    comment="Offences that count against a publisher, who is known by keyed hashes only.",
)

report = Table(
    "report",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("at", Float, nullable=False),
    Column("stream_id", String(80), nullable=False, index=True),
    Column("incident_id", String(36), nullable=True, index=True),
    Column("category", String(16), nullable=False),
    Column("text", Text, nullable=False),
    Column("token", String(200), nullable=False),
    Column("reporter_hash", String(32), nullable=False),
    Column("live", Boolean, nullable=False),
    comment="Reports by users.",
)

partner_alert = Table(
    "partner_alert",
    metadata,
    Column("partner", String(48), primary_key=True),
    Column("incident_id", String(64), primary_key=True),
    Column("state", String(16), nullable=False),
    Column("sequence", Integer, nullable=False),
    Column("word", String(32), nullable=False),
    Column("severity", String(8), nullable=False),
    Column("label", String(64), nullable=False),
    Column("stream_name", Text, nullable=True),
    Column("page_link", Text, nullable=True),
    Column("drill", Boolean, nullable=False),
    Column("first_at", Float, nullable=False),
    Column("heard_at", Float, nullable=False),
    Column("until", Float, nullable=False, index=True),
    Column("streams", JSON, nullable=False),
    Column("disagrees", Boolean, nullable=False),
    Column("receipt", JSON, nullable=True),
    comment="What other platforms said of their incidents, and what came of it here; state is standing, withdrawn or over.",
)

partner_event = Table(
    "partner_event",
    metadata,
    Column("partner", String(48), primary_key=True),
    Column("event_id", String(64), primary_key=True),
    Column("at", Float, nullable=False, index=True),
    Column("receipt", LargeBinary, nullable=False),
    comment="Events that other platforms sent, so that each is acted upon once, and how each was answered.",
)

writer = Table(
    "writer",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("epoch", Integer, nullable=False),
    comment="One row: how often a daemon has claimed the store; only the last one to do so may write.",
)

learnt_threshold = Table(
    "learnt_threshold",
    metadata,
    Column("server", String(48), primary_key=True),
    Column("app", String(200), primary_key=True),
    Column("label", String(64), primary_key=True),
    Column("severity", String(8), primary_key=True),
    Column("basis", String(64), nullable=False),
    Column("standing", JSON, nullable=False),
    Column("tally", JSON, nullable=False),
    Column("saved_at", Float, nullable=False),
    comment="Thresholds learnt from ordinary streams, and the counted detections that they were learnt from.",
)
