"""People: pauses and silences, two people for one review, and whom a review that waits is passed on to"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "silence",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("kind", sa.String(length=8), nullable=False),
        sa.Column("server", sa.String(length=48), nullable=True),
        sa.Column("pattern", sa.Text(), nullable=True),
        sa.Column("owner", sa.String(length=200), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("until", sa.Float(), nullable=False),
        sa.Column("ended_at", sa.Float(), nullable=True),
        sa.Column("ended_by", sa.String(length=200), nullable=True),
        sa.Column("ended_why", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_silence")),
        comment="Pauses of containment and silences of alerts: whose, why and until when.",
    )
    op.create_index("ix_silence_active", "silence", ["ended_at", "until"])
    op.create_table(
        "review_wait",
        sa.Column("incident_id", sa.String(length=36), nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("next_at", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["incident_id"], ["incident.id"], name=op.f("fk_review_wait_incident_id_incident")),
        sa.PrimaryKeyConstraint("incident_id", name=op.f("pk_review_wait")),
        comment="Reviews that nobody has decided: which group of responders has it, and when the next one is told.",
    )
    op.create_index(op.f("ix_review_wait_next_at"), "review_wait", ["next_at"])
    with op.batch_alter_table("incident", schema=None) as batch_op:
        batch_op.add_column(sa.Column("review_people", sa.Integer(), server_default="1", nullable=False))
        batch_op.add_column(sa.Column("review_confirmed_by", sa.JSON(), server_default="[]", nullable=False))
        batch_op.add_column(sa.Column("review_reason", sa.String(length=32), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("incident", schema=None) as batch_op:
        for name in ("review_reason", "review_confirmed_by", "review_people"):
            batch_op.drop_column(name)
    op.drop_table("review_wait")
    op.drop_table("silence")
