"""Partners: what other platforms said, and how it was answered"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "partner_alert",
        sa.Column("partner", sa.String(48), nullable=False),
        sa.Column("incident_id", sa.String(64), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("sequence", sa.Integer(), nullable=False),
        sa.Column("word", sa.String(32), nullable=False),
        sa.Column("severity", sa.String(8), nullable=False),
        sa.Column("label", sa.String(64), nullable=False),
        sa.Column("stream_name", sa.Text(), nullable=True),
        sa.Column("page_link", sa.Text(), nullable=True),
        sa.Column("drill", sa.Boolean(), nullable=False),
        sa.Column("first_at", sa.Float(), nullable=False),
        sa.Column("heard_at", sa.Float(), nullable=False),
        sa.Column("until", sa.Float(), nullable=False),
        sa.Column("streams", sa.JSON(), nullable=False),
        sa.Column("disagrees", sa.Boolean(), nullable=False),
        sa.Column("receipt", sa.JSON(), nullable=True),
        sa.PrimaryKeyConstraint("partner", "incident_id", name=op.f("pk_partner_alert")),
        comment="What other platforms said of their incidents, and what came of it here; state is standing, withdrawn or over.",
    )
    op.create_index(op.f("ix_partner_alert_until"), "partner_alert", ["until"])
    op.create_table(
        "partner_event",
        sa.Column("partner", sa.String(48), nullable=False),
        sa.Column("event_id", sa.String(64), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("receipt", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("partner", "event_id", name=op.f("pk_partner_event")),
        comment="Events that other platforms sent, so that each is acted upon once, and how each was answered.",
    )
    op.create_index(op.f("ix_partner_event_at"), "partner_event", ["at"])


def downgrade() -> None:
    op.drop_table("partner_event")
    op.drop_table("partner_alert")
