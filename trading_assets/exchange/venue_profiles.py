"""How Bybit's venues differ: one row each, as Bybit's documentation has it. The connector and the checks follow it.

Sources: Bybit's pages "Demo Trading Service", "Integration Guidance", "Rate Limit Rules" and "Get Order History" (July
2026). What is not documented is not here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

SECONDS_A_DAY = 86_400


@dataclass(frozen=True)
class VenueProfile:
    """One venue of Bybit's.

    Attributes:
        rest: first part of the host of the REST interface.
        public_stream, private_stream: first parts of the hosts that stream.
        shares_mainnets_market: its prices are mainnet's.
        missing: pybit's method -> what this system does without it. The venue answers 10032.
        paths: the same by the path of the endpoint.
        trade_stream: whether orders may be sent by WebSocket; this system sends them by REST everywhere.
        isolated_margin: whether the account can be set to it.
        order_days: how long orders are kept.
        limits: how the limits of requests differ from those of an ordinary account.
        keys_at: where its API keys are made.
        fills: what is known of how orders are filled there.
        money: where the balance comes from.
    """

    name: str
    rest: str
    public_stream: str
    private_stream: str
    shares_mainnets_market: bool
    keys_at: str
    fills: str
    money: str
    missing: Mapping[str, str] = field(default_factory=dict, hash=False)
    paths: Mapping[str, str] = field(default_factory=dict, hash=False)
    trade_stream: bool = True
    isolated_margin: bool = True
    order_days: int = 730
    limits: str = "by the account's level"


MAINNET = VenueProfile(
    name="mainnet",
    rest="api",
    public_stream="stream",
    private_stream="stream",
    shares_mainnets_market=True,
    keys_at="bybit.com, Account, API",
    fills="in the real book, by real people",
    money="yours",
)
TESTNET = VenueProfile(
    name="testnet",
    rest="api-testnet",
    public_stream="stream-testnet",
    private_stream="stream-testnet",
    shares_mainnets_market=False,
    keys_at="testnet.bybit.com, an account of its own",
    fills="in a book of its own that is often thin or empty (10001, 110118), at prices far from mainnet's",
    money="test coins, asked for on its site",
)
DEMO = VenueProfile(
    name="demo",
    rest="api-demo",
    public_stream="stream",
    private_stream="stream-demo",
    shares_mainnets_market=True,
    keys_at="bybit.com, switched to Demo Trading, API",
    fills="at mainnet's prices, without moving them: no slippage beyond the spread is reported",
    money="POST /v5/account/demo-apply-money, once a minute, at most 100,000 USDT",
    missing={
        "get_api_key_information": "permissions, expiry and the account's number are not checked; books are bound to "
        "the venue alone",
        "get_fee_rates": "the setting taker_fee is used",
    },
    paths={
        "/v5/user/query-api": "get_api_key_information",
        "/v5/account/fee-rate": "get_fee_rates",
    },
    trade_stream=False,
    isolated_margin=False,
    order_days=7,
    limits="the ordinary ones, which cannot be raised",
)
PROFILES = {profile.name: profile for profile in (MAINNET, TESTNET, DEMO)}
