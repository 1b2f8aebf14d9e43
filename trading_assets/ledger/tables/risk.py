"""Tables of what halts or is told: the risk guard, troubles, alarms."""

from __future__ import annotations

import sqlalchemy as sa

from trading_assets.ledger.tables.columns import account_column, metadata, time_column

automation_troubles = sa.Table(
    "automation_troubles",
    metadata,
    account_column(primary_key=True),
    sa.Column("source", sa.String(64), primary_key=True, comment="the schedule or sensor that saw it"),
    sa.Column("text", sa.Text, nullable=False, comment="what is wrong, and what to do"),
    sa.Column("since_wall_ms", sa.BigInteger, nullable=False, comment="local clock, UTC ms"),
    comment="What keeps schedules and sensors from going on now: limits of tries, blocked hours, stuck runs.",
)


risk_events = sa.Table(
    "risk_events",
    metadata,
    sa.Column("event_id", sa.Integer, primary_key=True, autoincrement=True, comment="in the order of writing"),
    account_column(),
    sa.Column(
        "kind",
        sa.String(32),
        nullable=False,
        comment="difference, unprotected, refused read or order and its code, or gate and its name",
    ),
    sa.Column(
        "symbol", sa.String(64), comment="symbol in the words of the venue; none where the whole account is concerned"
    ),
    sa.Column("detail", sa.Text, nullable=False, comment="what was found and what was done"),
    time_column("time_ms", "moment of the event"),
    sa.Index("ix_risk_events_account", "account", "kind", "symbol"),
    comment="What the reconciler and the risk guard met: differences, lost stops, gates that shut and opened.",
)


risk_states = sa.Table(
    "risk_states",
    metadata,
    sa.Column("state_id", sa.Integer, primary_key=True, autoincrement=True, comment="in the order of writing"),
    account_column(),
    sa.Column("state", sa.String(8), nullable=False, comment="ACTIVE, REDUCING or HALTED, from this row on"),
    sa.Column("cause", sa.String(16), nullable=False, comment="command, drawdown, daily loss or unprotected"),
    sa.Column("reason", sa.Text, nullable=False, comment="as the person gave it, or the limit and its value"),
    sa.Column("actor", sa.Text, nullable=False, comment="who: a person, a job, or the guard itself"),
    sa.Column("until_ms", sa.BigInteger, comment="ends by itself at this time, UTC ms; NULL: only by another row"),
    time_column("time_ms", "moment of the change"),
    sa.Index("ix_risk_states_account", "account", "state_id"),
    comment="What the risk guard allows, and who said so.",
)


alarms = sa.Table(
    "alarms",
    metadata,
    account_column(primary_key=True),
    sa.Column("name", sa.String(32), primary_key=True, comment="of its rule"),
    sa.Column("state", sa.String(10), nullable=False, comment="pending, firing or resolved"),
    sa.Column("severity", sa.String(8), nullable=False, comment="info, warning or critical"),
    sa.Column("detail", sa.Text, nullable=False, comment="what is found, and what to do"),
    sa.Column("since_wall_ms", sa.BigInteger, nullable=False, comment="in this state since then, UTC ms"),
    sa.Column("seen_wall_ms", sa.BigInteger, nullable=False, comment="evaluated last, UTC ms"),
    comment="Alarms as they stand: each is told when it fires and when it is resolved.",
)
