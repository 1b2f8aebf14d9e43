"""Tables of the mirror: whether there is one, and what of the ledger it does not show yet."""

from __future__ import annotations

import sqlalchemy as sa

from trading_assets.ledger.tables.columns import account_column, metadata

mirrors = sa.Table(
    "mirrors",
    metadata,
    sa.Column("name", sa.String(32), primary_key=True, comment="dynamodb"),
    account_column(),
    sa.Column("since_wall_ms", sa.BigInteger, nullable=False, comment="local clock when it was begun, UTC ms"),
    sa.Column("sent", sa.BigInteger, nullable=False, comment="items that were put or deleted since then"),
    sa.Column("failures", sa.Integer, nullable=False, comment="rounds that failed since the last that did not"),
    sa.Column("error", sa.Text, comment="of the last round, where it failed"),
    sa.Column("last_sent_wall_ms", sa.BigInteger, comment="local clock when something was sent last, UTC ms"),
    comment="The mirrors that are on: while there is a row, triggers note what changes.",
)


mirror_changes = sa.Table(
    "mirror_changes",
    metadata,
    sa.Column("change_id", sa.Integer, primary_key=True, autoincrement=True, comment="in the order of writing"),
    sa.Column("kind", sa.String(10), nullable=False, comment="signal or partition"),
    sa.Column("item", sa.String(200), nullable=False, comment="id of the signal; asset of the partition"),
    sa.Column("hour_ms", sa.BigInteger, nullable=False, comment="the partition, UTC ms; 0 of a signal"),
    sa.UniqueConstraint("kind", "item", "hour_ms", name="mirror_changes_once"),
    sqlite_autoincrement=True,
    comment="What the mirror does not show yet, once each. Triggers write it in the transaction of the change.",
)


mirror_partitions = sa.Table(
    "mirror_partitions",
    metadata,
    sa.Column("asset", sa.String(100), primary_key=True, comment="asset key, its parts joined by /"),
    sa.Column("hour_ms", sa.BigInteger, primary_key=True, autoincrement=False, comment="partition, UTC ms"),
    sa.Column("keys", sa.Text, nullable=False, comment="JSON list: the keys of the items that were put"),
    comment="What the mirror holds of each partition, so that items of an earlier writing go when it is written again.",
)
