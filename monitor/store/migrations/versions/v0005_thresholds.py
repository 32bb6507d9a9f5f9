"""Thresholds: what is learnt from ordinary streams"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "learnt_threshold",
        sa.Column("server", sa.String(length=48), nullable=False),
        sa.Column("app", sa.String(length=200), nullable=False),
        sa.Column("label", sa.String(length=64), nullable=False),
        sa.Column("severity", sa.String(length=8), nullable=False),
        sa.Column("basis", sa.String(length=64), nullable=False),
        sa.Column("standing", sa.JSON(), nullable=False),
        sa.Column("tally", sa.JSON(), nullable=False),
        sa.Column("saved_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("server", "app", "label", "severity", name=op.f("pk_learnt_threshold")),
        comment="Thresholds learnt from ordinary streams, and the counted detections that they were learnt from.",
    )


def downgrade() -> None:
    op.drop_table("learnt_threshold")
