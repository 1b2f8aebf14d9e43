"""A digest of the contract's rules in each row of the scan: scanned again, an hour knows whether they have changed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0028"
down_revision = "0027"


def upgrade() -> None:
    op.add_column("market_scan", sa.Column("rules_digest", sa.Text))


def downgrade() -> None:
    op.drop_column("market_scan", "rules_digest")
