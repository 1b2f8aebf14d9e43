"""The names of the field: `max_price` for `most_price`, `signal_evaluations` for `finder_looks`. Rows stay."""

from __future__ import annotations

from alembic import op

revision = "0007"
down_revision = "0006"

_COLUMNS = (("look_id", "evaluation_id"), ("looked", "outcomes"))


def upgrade() -> None:
    op.execute("ALTER TABLE market_scan RENAME COLUMN most_price TO max_price")
    op.drop_index("finder_looks_by_time", "finder_looks")
    op.rename_table("finder_looks", "signal_evaluations")
    for before, after in _COLUMNS:
        op.execute(f"ALTER TABLE signal_evaluations RENAME COLUMN {before} TO {after}")
    op.create_index("signal_evaluations_by_time", "signal_evaluations", ["account", "time_ms"])


def downgrade() -> None:
    op.drop_index("signal_evaluations_by_time", "signal_evaluations")
    for before, after in _COLUMNS:
        op.execute(f"ALTER TABLE signal_evaluations RENAME COLUMN {after} TO {before}")
    op.rename_table("signal_evaluations", "finder_looks")
    op.create_index("finder_looks_by_time", "finder_looks", ["account", "time_ms"])
    op.execute("ALTER TABLE market_scan RENAME COLUMN max_price TO most_price")
