"""Told: what an incident was told of its stream beside detections"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_COLUMNS = ("strikes", "viewers", "reports")


def upgrade() -> None:
    with op.batch_alter_table("incident", schema=None) as batch_op:
        for name in _COLUMNS:
            batch_op.add_column(sa.Column(name, sa.Integer(), server_default="0", nullable=False))


def downgrade() -> None:
    with op.batch_alter_table("incident", schema=None) as batch_op:
        for name in reversed(_COLUMNS):
            batch_op.drop_column(name)
