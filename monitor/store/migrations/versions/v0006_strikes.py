"""Strikes: offences that count, reports by users, and the policy that an incident comes under"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_HASHES = ("stream_hash", "account_hash", "address_hash")


def upgrade() -> None:
    with op.batch_alter_table("incident", schema=None) as batch_op:
        batch_op.add_column(sa.Column("policy", sa.String(48), nullable=True))
    op.create_table(
        "strike",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("server", sa.String(48), nullable=False),
        sa.Column("scope", sa.String(16), nullable=False),
        sa.Column("stream_id", sa.String(80), nullable=True),
        *(sa.Column(name, sa.String(32), nullable=True) for name in _HASHES),
        sa.Column("policy", sa.String(48), nullable=False),
        sa.Column("origin", sa.String(16), nullable=False),
        sa.Column("context", sa.String(16), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("decided_at", sa.Float(), nullable=False),
        sa.Column("until", sa.Float(), nullable=False),
        sa.Column("expires_at", sa.Float(), nullable=False),
        sa.Column("incident_id", sa.String(36), nullable=True),
        sa.Column("effect_id", sa.String(36), nullable=True),
        sa.Column("by", sa.String(200), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("lifted_at", sa.Float(), nullable=True),
        sa.Column("lifted_by", sa.String(200), nullable=True),
        sa.Column("lifted_why", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_strike")),
        sa.UniqueConstraint("effect_id", name=op.f("uq_strike_effect_id")),
        comment="Offences that count against a publisher, who is known by keyed hashes only.",
    )
    for name in (*_HASHES, "incident_id"):
        op.create_index(op.f(f"ix_strike_{name}"), "strike", [name])
    op.create_index("ix_strike_standing", "strike", ["lifted_at", "expires_at"])
    op.create_table(
        "report",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("stream_id", sa.String(80), nullable=False),
        sa.Column("incident_id", sa.String(36), nullable=True),
        sa.Column("category", sa.String(16), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("token", sa.String(200), nullable=False),
        sa.Column("reporter_hash", sa.String(32), nullable=False),
        sa.Column("live", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_report")),
        comment="Reports by users.",
    )
    for name in ("stream_id", "incident_id"):
        op.create_index(op.f(f"ix_report_{name}"), "report", [name])


def downgrade() -> None:
    op.drop_table("report")
    op.drop_table("strike")
    with op.batch_alter_table("incident", schema=None) as batch_op:
        batch_op.drop_column("policy")
