"""What luck alone could have done: p-values corrected for what was tried, and no deflated Sharpe ratio of few trades.

Rows that were there keep their figures; of the new ones they have none.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"

_NEW = ("configurations_effective", "p_value_corrected", "p_value_hour", "least_trades")


def upgrade() -> None:
    op.add_column("backtest_results", sa.Column("break_even", sa.Double))
    with op.batch_alter_table("strategy_selections") as table:
        for name in _NEW:
            table.add_column(sa.Column(name, sa.Double))
        table.alter_column("deflated_sharpe", existing_type=sa.Double(), nullable=True)


def downgrade() -> None:
    op.execute("UPDATE strategy_selections SET deflated_sharpe = 0 WHERE deflated_sharpe IS NULL")
    with op.batch_alter_table("strategy_selections") as table:
        table.alter_column("deflated_sharpe", existing_type=sa.Double(), nullable=False)
        for name in _NEW:
            table.drop_column(name)
    op.drop_column("backtest_results", "break_even")
