"""How the entries of a backtest waited. Rows that were there have none: theirs were at the market."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0027"
down_revision = "0026"

_NUMBERS = ("entry_offset_pct", "entry_bars", "maker_fee", "entry_deviation_pct")


def upgrade() -> None:
    for table in ("backtest_results", "strategy_selections"):
        op.add_column(table, sa.Column("entry_order", sa.Text))
        for name in _NUMBERS:
            op.add_column(table, sa.Column(name, sa.Double))


def downgrade() -> None:
    for table in ("strategy_selections", "backtest_results"):
        for name in (*reversed(_NUMBERS), "entry_order"):
            op.drop_column(table, name)
