"""Tables of the installation: leases, accounts and their settings, switches, processes."""

from __future__ import annotations

import sqlalchemy as sa

from trading_assets.ledger.tables.columns import account_column, metadata

leases = sa.Table(
    "leases",
    metadata,
    sa.Column("name", sa.String(100), primary_key=True, comment="what may be done by one holder at a time"),
    sa.Column("holder", sa.Text, nullable=False, comment="unique to one life of one process"),
    sa.Column("fence", sa.BigInteger, nullable=False, comment="grows with every change of the holder"),
    sa.Column("expires_wall_ms", sa.BigInteger, nullable=False, comment="local clock, UTC ms; 0 when given back"),
    sa.Column(
        "ttl_ms", sa.BigInteger, nullable=False, server_default="30000", comment="its length from the last renewal, ms"
    ),
    comment="What one process at a time may do, such as trading an account.",
)


accounts = sa.Table(
    "accounts",
    metadata,
    sa.Column("name", sa.String(32), primary_key=True, comment="name of the trading account in this ledger"),
    sa.Column("venue", sa.String(16), nullable=False, comment="whose account it is; empty: nobody has said it yet"),
    sa.Column("user_id", sa.String(32), comment="the venue's number of the account; none where it does not tell it"),
    sa.Column("market", sa.String(64), nullable=False, comment="the market that it trades"),
    sa.Column("bound_wall_ms", sa.BigInteger, nullable=False, comment="local clock when it was bound, UTC ms"),
    sa.Column("bound_by", sa.Text, nullable=False, comment="a person, or the first use of an empty ledger"),
    comment="Whose money the rows of an account are about. A key of another account is refused.",
)


schema_compatibility = sa.Table(
    "schema_compatibility",
    metadata,
    sa.Column("works_since", sa.String(32), primary_key=True, comment="newest revision that the oldest of them knows"),
    comment="Which older versions of the program can work with the schema as it is. One row.",
)


trading_switches = sa.Table(
    "trading_switches",
    metadata,
    sa.Column("switch_id", sa.Integer, primary_key=True, autoincrement=True, comment="in the order of writing"),
    account_column(),
    sa.Column("state", sa.String(3), nullable=False, comment="on or off: whether it is traded, from this row on"),
    sa.Column("actor", sa.Text, nullable=False, comment="who switched it"),
    sa.Column("reason", sa.Text, nullable=False, comment="as the person gave it"),
    sa.Column("time_wall_ms", sa.BigInteger, nullable=False, comment="local clock, UTC ms"),
    sa.Index("ix_trading_switches_account", "account", "switch_id"),
    comment="The switch of each account. Without a row only a simulated account is traded.",
)


installation = sa.Table(
    "installation",
    metadata,
    sa.Column("installation_id", sa.Integer, primary_key=True, autoincrement=False, comment="1: a ledger has one home"),
    sa.Column("mark", sa.String(36), nullable=False, comment="what the file `installation` in the home says"),
    sa.Column("home", sa.Text, nullable=False, comment="where the home was when it was marked"),
    sa.Column("code", sa.String(64), comment="digest of the sources that the daemon's code server runs"),
    comment="Which home belongs to this ledger: a folder that is not shared is noticed.",
)


named_accounts = sa.Table(
    "named_accounts",
    metadata,
    sa.Column("name", sa.String(32), primary_key=True, comment="name of the trading account in this ledger"),
    sa.Column("venue", sa.String(16), nullable=False, comment="value of the setting"),
    sa.Column("place", sa.Text, nullable=False, comment="JSON: further settings that say where the account is"),
    sa.Column("key_source", sa.Text, nullable=False, comment="ledger, none, or where the keys are: aws:..., env:..."),
    sa.Column("key_hint", sa.Text, nullable=False, comment="beginning and end of the API key, to tell it by"),
    sa.Column("sealed", sa.Text, comment="the keys, encrypted under the master key; none where they are elsewhere"),
    sa.Column("sealed_by", sa.String(16), comment="which master key: beginning of its SHA-256"),
    sa.Column("added_wall_ms", sa.BigInteger, nullable=False, comment="local clock, UTC ms"),
    sa.Column("removed_wall_ms", sa.BigInteger, comment="local clock, UTC ms; none: it is there"),
    comment="Accounts besides the one of the settings. What is traded of them, their switches say.",
)


live_changes = sa.Table(
    "live_changes",
    metadata,
    sa.Column("version", sa.Integer, primary_key=True, autoincrement=True, comment="in the order of writing"),
    sa.Column("kind", sa.String(8), nullable=False, comment="setting, flag or account"),
    sa.Column("account", sa.String(32), nullable=False, comment="name of the trading account; empty: of all"),
    sa.Column("name", sa.String(64), nullable=False, comment="of the setting or flag, or what was done to the account"),
    sa.Column("value", sa.Text, comment="its text from this row on; none: as environment and file say, or the default"),
    sa.Column("actor", sa.Text, nullable=False, comment="who changed it"),
    sa.Column("reason", sa.Text, nullable=False, comment="as the person gave it"),
    sa.Column("time_wall_ms", sa.BigInteger, nullable=False, comment="local clock, UTC ms"),
    sa.Index("ix_live_changes_name", "kind", "account", "name", "version"),
    comment="Settings and flags that were changed while the system ran, and what became of accounts.",
)


process_reports = sa.Table(
    "process_reports",
    metadata,
    sa.Column("process", sa.String(80), primary_key=True, comment="of one life of one process, or of all that ended"),
    account_column(),
    sa.Column("role", sa.String(16), nullable=False, comment="what it does: session, reconcile, serve"),
    sa.Column("started_wall_ms", sa.BigInteger, nullable=False, comment="local clock, UTC ms"),
    sa.Column("updated_wall_ms", sa.BigInteger, nullable=False, comment="local clock, UTC ms"),
    sa.Column("counts", sa.Text, nullable=False, comment="JSON: name, labels and sum of each counter"),
    sa.Column("gauges", sa.Text, nullable=False, comment="JSON: value of now by name"),
    comment="What each process counts: requests, candles, connections. Metrics are made of it.",
)


rehearsals = sa.Table(
    "rehearsals",
    metadata,
    sa.Column("rehearsal_id", sa.Integer, primary_key=True, autoincrement=True, comment="in the order of writing"),
    account_column(),
    sa.Column("venue", sa.String(16), nullable=False, comment="where it was"),
    sa.Column("symbol", sa.Text, nullable=False, comment="the contract that was traded"),
    sa.Column(
        "outcome", sa.String(8), nullable=False, comment="well: all was as expected, nothing was left; or not well"
    ),
    sa.Column("report", sa.Text, nullable=False, comment="JSON: each step, what was expected and what was found"),
    sa.Column("time_wall_ms", sa.BigInteger, nullable=False, comment="local clock at its end, UTC ms"),
    sa.Index("ix_rehearsals_account", "account", "venue", "rehearsal_id"),
    comment="What rehearsals of venues have found.",
)
