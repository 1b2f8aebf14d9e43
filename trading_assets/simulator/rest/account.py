"""`/v5/account/...` and `/v5/user/...`: wallet, money log, account settings, fees, key."""

from __future__ import annotations

from decimal import Decimal

from trading_assets.core.timeframes import DAY_MS, iso
from trading_assets.simulator.account.booking import transfer
from trading_assets.simulator.account.margin import AccountFigures, total
from trading_assets.simulator.account.models import (
    CROSS,
    ISOLATED,
    MAKER_FEE,
    TAKER_FEE,
    ZERO,
    Balance,
    Execution,
    Transfer,
)
from trading_assets.simulator.account.pricing import contract_of
from trading_assets.simulator.codec import Params, Refusal, fixed, page, plain, trimmed
from trading_assets.simulator.rest import market
from trading_assets.simulator.rest.common import LINEAR, Route, category_of, time_window
from trading_assets.simulator.venue import Venue

UNIFIED_TRADING_ACCOUNT_2 = 5
NOT_OF_ISOLATED = (
    "accountIMRate",
    "accountIMRateByMp",
    "accountMMRate",
    "accountMMRateByMp",
    "accountLTV",
    "totalMarginBalance",
    "totalInitialMargin",
    "totalInitialMarginByMp",
    "totalMaintenanceMargin",
    "totalMaintenanceMarginByMp",
    "totalAvailableBalance",
)
"""What the wallet does not tell in isolated margin, where no figure but a coin's or a position's decides."""
MOST_MONEY = 100_000
"""Of one coin at once."""


def wallet_balance(venue: Venue, params: Params, now_ms: int) -> object:
    if params.required("accountType") != "UNIFIED":
        raise Refusal(10001, "accountType only support UNIFIED.")
    wanted = {coin.strip() for coin in params.text("coin").split(",") if coin.strip()}
    account = venue.engine.figures(now_ms)
    coins = [
        _coin_row(account, balance)
        for balance in venue.engine.state.balances.values()
        if (not wanted or balance.coin in wanted) and (balance.wallet or balance.total_realised)
    ]
    initial, maintenance = trimmed(account.initial_margin), trimmed(account.maintenance_margin)
    initial_rate = _rate(account.initial_margin, account.margin_balance)
    maintenance_rate = _rate(account.maintenance_margin, account.margin_balance)
    row = {
        "totalEquity": trimmed(account.margin_balance),
        "accountIMRate": initial_rate,
        "accountIMRateByMp": initial_rate,
        "totalMarginBalance": trimmed(account.margin_balance),
        "totalInitialMargin": initial,
        "totalInitialMarginByMp": initial,
        "accountType": "UNIFIED",
        "totalAvailableBalance": trimmed(account.available),
        "accountMMRate": maintenance_rate,
        "accountMMRateByMp": maintenance_rate,
        "totalPerpUPL": trimmed(account.unrealised),
        "totalWalletBalance": trimmed(account.wallet),
        "accountLTV": "0",
        "totalMaintenanceMargin": maintenance,
        "totalMaintenanceMarginByMp": maintenance,
        "coin": coins,
    }
    if account.isolated:
        row |= dict.fromkeys(NOT_OF_ISOLATED, "")
    return {"list": [row]}


def _coin_row(account: AccountFigures, balance: Balance) -> dict[str, object]:
    valued = [item for item in account.positions if item.contract.settle_coin == balance.coin]
    unrealised = total(item.unrealised for item in valued)
    equity = trimmed(balance.wallet + unrealised)
    return {
        "availableToBorrow": "",
        "bonus": "0",
        "accruedInterest": "0",
        "availableToWithdraw": "",
        "totalOrderIM": trimmed(account.order_margin.get(balance.coin, ZERO)),
        "equity": equity,
        "totalPositionMM": trimmed(total(item.maintenance_margin for item in valued)),
        "usdValue": equity,
        "spotHedgingQty": "0",
        "unrealisedPnl": trimmed(unrealised),
        "collateralSwitch": True,
        "borrowAmount": trimmed(max(ZERO, -balance.wallet)),
        "totalPositionIM": trimmed(total(item.initial_margin for item in valued)),
        "walletBalance": trimmed(balance.wallet),
        "cumRealisedPnl": trimmed(balance.total_realised),
        "locked": "0",
        "marginCollateral": True,
        "coin": balance.coin,
        "spotBorrow": "0",
    }


def _rate(margin: Decimal, balance: Decimal) -> str:
    return fixed(margin / balance, 4).rstrip("0").rstrip(".") if balance > 0 and margin else "0"


def account_info(venue: Venue, params: Params, now_ms: int) -> object:
    return {
        "marginMode": venue.engine.state.header.margin_mode,
        "updatedTime": str(venue.engine.state.header.created_ms),
        "unifiedMarginStatus": UNIFIED_TRADING_ACCOUNT_2,
        "dcpStatus": "ON" if venue.engine.state.header.dcp_windows else "OFF",
        "timeWindow": venue.engine.state.header.dcp_windows.get("DERIVATIVES", 10),
        "smpGroup": 0,
        "isMasterTrader": False,
        "spotHedgingStatus": "OFF",
    }


def set_margin_mode(venue: Venue, params: Params, now_ms: int) -> object:
    """Cross or isolated; there is no portfolio margin here."""
    mode = params.required("setMarginMode")
    if mode == "PORTFOLIO_MARGIN" or (mode == ISOLATED and venue.config.behaviour.cross_only):
        raise Refusal(110073, "Set margin mode failed")
    if mode not in (CROSS, ISOLATED):
        raise Refusal(10001, "params error: setMarginMode invalid")
    venue.engine.set_margin_mode(mode, now_ms)
    return {"reasons": []}


def transaction_log(venue: Venue, params: Params, now_ms: int) -> object:
    """What moved the wallet, newest first: fills, funding, transfers; the last 24 hours unless told otherwise."""
    limit = params.limit(20, 50)
    given = params.integer("startTime") is not None or params.integer("endTime") is not None
    start, end = time_window(params, now_ms) if given else (now_ms - DAY_MS, now_ms)
    kind, currency, base = params.text("type"), params.text("currency"), params.text("baseCoin")
    if params.text("category") and category_of(params) != LINEAR:
        return {"nextPageCursor": "", "list": []}
    state = venue.engine.state
    entries: tuple[Execution | Transfer, ...] = (*state.executions, *state.transfers)
    moved = [row for row in entries if start <= row.time_ms <= end]
    moved.sort(key=lambda row: row.sequence, reverse=True)
    rows = [
        (f"{row.sequence}:1", told)
        for row in moved
        for told in [_transfer_row(row) if isinstance(row, Transfer) else _log_row(venue, row)]
        if kind in ("", told["type"])
        and currency in ("", told["currency"])
        and (not base or (told["symbol"] and contract_of(venue.market, told["symbol"]).base_coin == base))
    ]
    chosen, cursor = page(rows, limit, params.text("cursor"))
    return {"nextPageCursor": cursor, "list": chosen}


_LOG_TYPES = {"Funding": "SETTLEMENT", "Delivery": "DELIVERY", "Settle": "DELIVERY", "BustTrade": "LIQUIDATION"}
_LOG_TYPES["AdlTrade"] = "ADL"
"""Kind of execution -> type in the log; others are TRADE."""


def _transfer_row(row: Transfer) -> dict[str, str]:
    empty = ("transSubType", "symbol", "side", "funding", "orderLinkId", "orderId", "fee", "feeRate", "bonusChange")
    return dict.fromkeys((*empty, "size", "qty", "category", "tradePrice", "tradeId", "extraFees"), "") | {
        "id": row.transfer_id,
        "change": trimmed(row.amount),
        "cashFlow": trimmed(row.amount),
        "transactionTime": str(row.time_ms),
        "type": "TRANSFER_IN" if row.amount > 0 else "TRANSFER_OUT",
        "cashBalance": trimmed(row.wallet),
        "currency": row.coin,
    }


def _log_row(venue: Venue, row: Execution) -> dict[str, str]:
    contract = contract_of(venue.market, row.symbol)
    funding = row.exec_type == "Funding"
    return {
        "transSubType": "",
        "id": f"{contract.symbol_id}_{row.symbol}_{row.sequence}",
        "symbol": row.symbol,
        "side": row.side,
        "funding": trimmed(-row.fee) if funding else "",
        "orderLinkId": row.order_link_id,
        "orderId": row.order_id,
        "fee": "0" if funding else trimmed(row.fee),
        "change": trimmed(row.pnl - row.fee),
        "cashFlow": trimmed(row.pnl),
        "transactionTime": str(row.time_ms),
        "type": _LOG_TYPES.get(row.exec_type, "TRADE"),
        "feeRate": trimmed(row.fee_rate),
        "bonusChange": "",
        "size": plain(row.qty),
        "qty": plain(row.qty),
        "cashBalance": trimmed(row.wallet),
        "currency": contract.settle_coin,
        "category": LINEAR,
        "tradePrice": plain(row.price),
        "tradeId": row.exec_id,
        "extraFees": "",
    }


def apply_money(venue: Venue, params: Params, now_ms: int) -> object:
    """Play money, as the venue's demo account gives it out (`adjustType` 0) and takes it back (1)."""
    wanted = [Params(values) for values in params.objects("utaDemoApplyMoney")]
    sums = [(one.required("coin"), one.decimal("amountStr") or ZERO) for one in wanted]
    if not sums:
        raise Refusal(10001, "params error: utaDemoApplyMoney is empty")
    adjust = params.integer("adjustType", 0)
    if adjust not in (0, 1):
        raise Refusal(10001, "params error: adjustType must be 0 or 1")
    coins = {contract.settle_coin for contract in venue.market.contracts.values()}
    for coin, amount in sums:
        if coin not in coins or not 0 < amount <= MOST_MONEY:
            raise Refusal(10001, f"params error: coin must be one of {sorted(coins)}, amountStr in 0..{MOST_MONEY}")
    if adjust == 1:
        taken = sum((amount for _, amount in sums), ZERO)
        wallets = {coin: venue.engine.state.look_up_balance(coin).wallet for coin, _ in sums}
        if taken > venue.engine.figures(now_ms).available or any(amount > wallets[coin] for coin, amount in sums):
            raise Refusal(110004, "Wallet balance is insufficient")
    for coin, amount in sums:
        transfer(venue.engine.state, coin, amount if adjust == 0 else -amount, now_ms)
    return {}


def collateral_info(venue: Venue, params: Params, now_ms: int) -> object:
    """The settle coins: each is collateral in full, and none can be borrowed."""
    wanted = params.text("currency")
    balances = venue.engine.state.balances
    rows = [
        {
            "currency": coin,
            "hourlyBorrowRate": "0",
            "maxBorrowingAmount": "0",
            "freeBorrowingLimit": "0",
            "freeBorrowAmount": "0",
            "borrowAmount": trimmed(max(ZERO, -balances[coin].wallet)) if coin in balances else "0",
            "otherBorrowAmount": "0",
            "availableToBorrow": "0",
            "borrowable": False,
            "borrowUsageRate": "0",
            "marginCollateral": True,
            "collateralSwitch": True,
            "collateralRatio": "1",
            "freeBorrowingAmount": "",
        }
        for coin in sorted({contract.settle_coin for contract in venue.market.contracts.values()})
        if wanted in ("", coin)
    ]
    return {"list": rows}


def borrow_history(venue: Venue, params: Params, now_ms: int) -> object:
    """Interest: none is charged here."""
    params.limit(20, 50)
    return {"nextPageCursor": "", "list": []}


def dcp_info(venue: Venue, params: Params, now_ms: int) -> object:
    """Protection against disconnection, where a client has set its window; nothing is cancelled by it here."""
    header = venue.engine.state.header
    windows = [
        {"product": product, "dcpStatus": "ON", "timeWindow": str(seconds)}
        for product, seconds in header.dcp_windows.items()
    ]
    return {"dcpInfos": windows}


def instruments_info(venue: Venue, params: Params, now_ms: int) -> object:
    """The contracts as this account may trade them: all of them, and none against retail price improvement."""
    answer = market.instruments_info(venue, params, now_ms)
    rows = [{**row, "displayName": "", "myRpiPermission": False, "isPublicRpi": False} for row in answer["list"]]
    return {**answer, "list": rows}


def fee_rate(venue: Venue, params: Params, now_ms: int) -> object:
    symbol = params.text("symbol")
    if category_of(params, LINEAR) != LINEAR:
        return {"list": []}
    symbols = [contract_of(venue.market, symbol).symbol] if symbol else sorted(venue.market.contracts)
    return {
        "list": [
            {"symbol": name, "takerFeeRate": plain(TAKER_FEE), "makerFeeRate": plain(MAKER_FEE)} for name in symbols
        ]
    }


def query_api(venue: Venue, params: Params, now_ms: int) -> object:
    """The key may do all that is served here, from anywhere, for ever."""
    return {
        "id": "1",
        "note": "embedded exchange",
        "apiKey": venue.config.credentials.key,
        "readOnly": 0,
        "secret": "",
        "permissions": {
            "ContractTrade": ["Order", "Position"],
            "Spot": [],
            "Wallet": [],
            "Options": [],
            "Derivatives": ["DerivativesTrade"],
            "CopyTrading": [],
            "BlockTrade": [],
            "Exchange": [],
            "NFT": [],
            "Affiliate": [],
            "Earn": [],
            "FiatP2P": [],
            "FiatConvertBroker": [],
            "FiatGlobalPay": [],
            "FiatBitPay": [],
            "BitCard": [],
            "ByXPost": [],
        },
        "ips": ["*"],
        "type": 1,
        "deadlineDay": -2,
        "expiredAt": "1970-01-01T00:00:00Z",
        "createdAt": iso(venue.engine.state.header.created_ms),
        "unified": 0,
        "uta": 1,
        "userID": venue.user_id,
        "inviterID": 0,
        "vipLevel": "No VIP",
        "mktMakerLevel": "0",
        "affiliateID": 0,
        "rsaPublicKey": "",
        "isMaster": True,
        "parentUid": "0",
        "kycLevel": "LEVEL_DEFAULT",
        "kycRegion": "",
        "userIDInt64": str(venue.user_id),
        "inviterIDInt64": "0",
        "affiliateIDInt64": "0",
    }


def set_price_behaviour(venue: Venue, params: Params, now_ms: int) -> object:
    """Whether a price beyond the band is moved to it, or its order refused; for all contracts."""
    if params.required("category") not in (LINEAR, "inverse", "spot"):
        raise Refusal(10001, "params error: category invalid")
    if "modifyEnable" not in params.values:
        raise Refusal(10001, "params error: modifyEnable is required")
    header = venue.engine.state.header
    if params.text("category") != "spot":
        header.moves_prices = params.flag("modifyEnable")
        venue.engine.state.touch(header)
    return {}


ROUTES = (
    Route("GET", "/v5/account/wallet-balance", wallet_balance, True),
    Route("GET", "/v5/account/info", account_info, True),
    Route("GET", "/v5/account/instruments-info", instruments_info, True),
    Route("GET", "/v5/account/transaction-log", transaction_log, True),
    Route("POST", "/v5/account/set-margin-mode", set_margin_mode, True),
    Route("POST", "/v5/account/set-limit-px-action", set_price_behaviour, True),
    Route("POST", "/v5/account/demo-apply-money", apply_money, True),
    Route("GET", "/v5/account/fee-rate", fee_rate, True),
    Route("GET", "/v5/account/collateral-info", collateral_info, True),
    Route("GET", "/v5/account/borrow-history", borrow_history, True),
    Route("GET", "/v5/account/query-dcp-info", dcp_info, True),
    Route("GET", "/v5/user/query-api", query_api, True),
)
