"""Begin: incidents, deadlines, effects, audit, deliveries, blocks"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "audit",
        sa.Column("number", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("incident_id", sa.String(length=36), nullable=True),
        sa.Column("actor", sa.String(length=200), nullable=False),
        sa.Column("action", sa.String(length=64), nullable=False),
        sa.Column("detail", sa.JSON(), nullable=False),
        sa.Column("previous_hash", sa.String(length=64), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_audit")),
        comment="Append-only, hash-chained: who or what did what, when and why.",
    )
    with op.batch_alter_table("audit", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_audit_incident_id"), ["incident_id"], unique=False)

    op.create_table(
        "block",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("server", sa.String(length=48), nullable=False),
        sa.Column("app", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("until", sa.Float(), nullable=False),
        sa.Column("incident_id", sa.String(length=36), nullable=True),
        sa.Column("effect_id", sa.String(length=36), nullable=True),
        sa.Column("by", sa.String(length=200), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("lifted_at", sa.Float(), nullable=True),
        sa.Column("lifted_by", sa.String(length=200), nullable=True),
        sa.Column("lifted_why", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_block")),
        sa.UniqueConstraint("effect_id", name=op.f("uq_block_effect_id")),
        comment="Publishers barred from live until a time (strikes).",
    )
    with op.batch_alter_table("block", schema=None) as batch_op:
        batch_op.create_index("ix_block_active", ["lifted_at", "until"], unique=False)
        batch_op.create_index("ix_block_publisher", ["server", "app", "name", "lifted_at", "until"], unique=False)
        batch_op.create_index(batch_op.f("ix_block_incident_id"), ["incident_id"], unique=False)

    op.create_table(
        "definition",
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=48), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_definition")),
        comment="Protocol definitions that incidents began under, so that each finishes under its own.",
    )
    op.create_table(
        "delivery",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("event_id", sa.String(length=64), nullable=False),
        sa.Column("event_type", sa.String(length=80), nullable=False),
        sa.Column("incident_id", sa.String(length=36), nullable=True),
        sa.Column("sequence", sa.Integer(), nullable=False),
        sa.Column("receiver", sa.String(length=48), nullable=False),
        sa.Column("priority", sa.String(length=16), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("next_at", sa.Float(), nullable=False),
        sa.Column("finished_at", sa.Float(), nullable=True),
        sa.Column("last_status", sa.Integer(), nullable=True),
        sa.Column("last_reason", sa.String(length=48), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_delivery")),
        sa.UniqueConstraint("event_id", "receiver", name=op.f("uq_delivery_event_id")),
        comment="Outbox: one row per alert and receiver; status is pending, delivered, dead or cancelled.",
    )
    with op.batch_alter_table("delivery", schema=None) as batch_op:
        batch_op.create_index("ix_delivery_due", ["receiver", "status", "next_at"], unique=False)
        batch_op.create_index(batch_op.f("ix_delivery_incident_id"), ["incident_id"], unique=False)

    op.create_table(
        "receiver_state",
        sa.Column("receiver", sa.String(length=48), nullable=False),
        sa.Column("disabled_at", sa.Float(), nullable=True),
        sa.Column("disabled_reason", sa.String(length=48), nullable=True),
        sa.PrimaryKeyConstraint("receiver", name=op.f("pk_receiver_state")),
        comment="Receivers that asked for no more alerts (HTTP 410).",
    )
    op.create_table(
        "incident",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("server", sa.String(length=48), nullable=False),
        sa.Column("app", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("stream_id", sa.String(length=80), nullable=False),
        sa.Column("session", sa.Text(), nullable=False),
        sa.Column("definition_digest", sa.String(length=64), nullable=False),
        sa.Column("protocol", sa.String(length=48), nullable=False),
        sa.Column("state", sa.String(length=64), nullable=False),
        sa.Column("entered_at", sa.Float(), nullable=False),
        sa.Column("sequence", sa.Integer(), nullable=False),
        sa.Column("severities", sa.JSON(), nullable=False),
        sa.Column("max_severity", sa.String(length=8), nullable=False),
        sa.Column("label", sa.String(length=64), nullable=False),
        sa.Column("score", sa.Float(), nullable=False),
        sa.Column("posture", sa.String(length=8), nullable=False),
        sa.Column("dry_run", sa.Boolean(), nullable=False),
        sa.Column("model", sa.String(length=128), nullable=False),
        sa.Column("opened_at", sa.Float(), nullable=False),
        sa.Column("changed_at", sa.Float(), nullable=False),
        sa.Column("closed_at", sa.Float(), nullable=True),
        sa.Column("review_due_at", sa.Float(), nullable=True),
        sa.Column("review_decision", sa.String(length=16), nullable=True),
        sa.Column("review_by", sa.String(length=200), nullable=True),
        sa.Column("review_why", sa.Text(), nullable=True),
        sa.Column("review_at", sa.Float(), nullable=True),
        sa.ForeignKeyConstraint(
            ["definition_digest"], ["definition.digest"], name=op.f("fk_incident_definition_digest_definition")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_incident")),
        comment="One run of a protocol on one stream.",
    )
    with op.batch_alter_table("incident", schema=None) as batch_op:
        batch_op.create_index("ix_incident_open", ["closed_at", "opened_at"], unique=False)
        batch_op.create_index("ix_incident_stream", ["stream_id", "closed_at"], unique=False)

    op.create_table(
        "deadline",
        sa.Column("incident_id", sa.String(length=36), nullable=False),
        sa.Column("key", sa.String(length=120), nullable=False),
        sa.Column("due_at", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["incident_id"], ["incident.id"], name=op.f("fk_deadline_incident_id_incident")),
        sa.PrimaryKeyConstraint("incident_id", "key", name=op.f("pk_deadline")),
        comment="Pending deadlines of open incidents.",
    )
    with op.batch_alter_table("deadline", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_deadline_due_at"), ["due_at"], unique=False)

    op.create_table(
        "effect",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("incident_id", sa.String(length=36), nullable=False),
        sa.Column("key", sa.String(length=120), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=24), nullable=False),
        sa.Column("parameters", sa.JSON(), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("requested_at", sa.Float(), nullable=False),
        sa.Column("started_at", sa.Float(), nullable=True),
        sa.Column("finished_at", sa.Float(), nullable=True),
        sa.Column("detail", sa.JSON(), nullable=True),
        sa.ForeignKeyConstraint(["incident_id"], ["incident.id"], name=op.f("fk_effect_incident_id_incident")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_effect")),
        sa.UniqueConstraint("incident_id", "key", name=op.f("uq_effect_incident_id")),
        comment="Effects to carry out once; status is pending, succeeded, failed or unverified.",
    )
    with op.batch_alter_table("effect", schema=None) as batch_op:
        batch_op.create_index("ix_effect_unfinished", ["status", "requested_at"], unique=False)


def downgrade() -> None:
    with op.batch_alter_table("effect", schema=None) as batch_op:
        batch_op.drop_index("ix_effect_unfinished")

    op.drop_table("effect")
    with op.batch_alter_table("deadline", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_deadline_due_at"))

    op.drop_table("deadline")
    with op.batch_alter_table("incident", schema=None) as batch_op:
        batch_op.drop_index("ix_incident_stream")
        batch_op.drop_index("ix_incident_open")

    op.drop_table("incident")
    op.drop_table("receiver_state")
    with op.batch_alter_table("delivery", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_delivery_incident_id"))
        batch_op.drop_index("ix_delivery_due")

    op.drop_table("delivery")
    op.drop_table("definition")
    with op.batch_alter_table("block", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_block_incident_id"))
        batch_op.drop_index("ix_block_publisher")
        batch_op.drop_index("ix_block_active")

    op.drop_table("block")
    with op.batch_alter_table("audit", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_audit_incident_id"))

    op.drop_table("audit")
