"""Writer: which daemon, of those that ever claimed the store, may write"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    writer = op.create_table(
        "writer",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_writer")),
        comment="One row: how often a daemon has claimed the store; only the last one to do so may write.",
    )
    op.bulk_insert(writer, [{"id": 1, "epoch": 0}])


def downgrade() -> None:
    op.drop_table("writer")
