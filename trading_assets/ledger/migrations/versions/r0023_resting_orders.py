"""Orders that rest: what they wait for, and what was asked of them."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"

_OF_INTENTS: tuple[tuple[str, Any], ...] = (
    ("price", sa.Text),
    ("post_only", sa.Boolean),
    ("until_ms", sa.BigInteger),
    ("chase_price", sa.Text),
    ("request", sa.String(8)),
    ("requests", sa.Integer),
    ("request_reason", sa.Text),
    ("seen_ms", sa.BigInteger),
)
_OF_SIGNALS: tuple[tuple[str, Any], ...] = (
    ("entry_order", sa.Text),
    ("limit_price", sa.Double),
    ("limit_until_ms", sa.Double),
)


def upgrade() -> None:
    for name, kind in _OF_INTENTS:
        op.add_column("order_intents", sa.Column(name, kind))
    for name, kind in _OF_SIGNALS:
        op.add_column("entry_signals", sa.Column(name, kind))


def downgrade() -> None:
    for name, _ in reversed(_OF_SIGNALS):
        op.drop_column("entry_signals", name)
    for name, _ in reversed(_OF_INTENTS):
        op.drop_column("order_intents", name)
