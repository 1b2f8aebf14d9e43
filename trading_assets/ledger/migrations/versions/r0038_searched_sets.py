"""How many of a backtest's parameter sets a search proposed. Rows that were there have none: theirs were of a grid."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0038"
down_revision = "0037"

_TABLES = ("backtest_results", "grid_results")


def upgrade() -> None:
    for table in _TABLES:
        op.add_column(table, sa.Column("searched", sa.Double))


def downgrade() -> None:
    for table in reversed(_TABLES):
        op.drop_column(table, "searched")
