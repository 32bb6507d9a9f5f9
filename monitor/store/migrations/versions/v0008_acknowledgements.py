"""Acknowledgements: who is on an incident; since when a group of responders has a review"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "acknowledgement",
        sa.Column("incident_id", sa.String(length=36), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("by", sa.String(length=200), nullable=False),
        sa.Column("via", sa.String(length=16), nullable=False),
        sa.ForeignKeyConstraint(["incident_id"], ["incident.id"], name=op.f("fk_acknowledgement_incident_id_incident")),
        sa.PrimaryKeyConstraint("incident_id", name=op.f("pk_acknowledgement")),
        comment="Who said first that they are on an incident.",
    )
    with op.batch_alter_table("review_wait", schema=None) as batch_op:
        batch_op.add_column(sa.Column("told_at", sa.Float(), server_default="0", nullable=False))


def downgrade() -> None:
    with op.batch_alter_table("review_wait", schema=None) as batch_op:
        batch_op.drop_column("told_at")
    op.drop_table("acknowledgement")
