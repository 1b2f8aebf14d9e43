"""`/v5/account/...` and `/v5/user/...`: wallet, money log, account settings, fees, key."""

from __future__ import annotations

from decimal import Decimal

from trading_assets.core.timeframes import DAY_MS, iso
from trading_assets.simulator.account.booking import deposit
from trading_assets.simulator.account.margin import AccountFigures, total
from trading_assets.simulator.account.models import CROSS, ISOLATED, MAKER_FEE, TAKER_FEE, ZERO, Balance, Execution
from trading_assets.simulator.account.pricing import contract_of
from trading_assets.simulator.codec import Params, Refusal, fixed, page, plain, trimmed
from trading_assets.simulator.rest import market
from trading_assets.simulator.rest.common import LINEAR, Route, category_of, marked, time_window
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
        "dcpStatus": "OFF",
        "timeWindow": 10,
        "smpGroup": 0,
        "isMasterTrader": False,
        "spotHedgingStatus": "OFF",
    }


def set_margin_mode(venue: Venue, params: Params, now_ms: int) -> object:
    """Cross or isolated; there is no portfolio margin here."""
    mode = params.required("setMarginMode")
    if mode == "PORTFOLIO_MARGIN":
        raise Refusal(110073, "Set margin mode failed")
    if mode not in (CROSS, ISOLATED):
        raise Refusal(10001, "params error: setMarginMode invalid")
    venue.engine.set_margin_mode(mode, now_ms)
    return {"reasons": []}


def transaction_log(venue: Venue, params: Params, now_ms: int) -> object:
    """What moved the wallet, newest first: fills and funding, the last 24 hours unless told otherwise."""
    limit = params.limit(20, 50)
    given = params.integer("startTime") is not None or params.integer("endTime") is not None
    start, end = time_window(params, now_ms) if given else (now_ms - DAY_MS, now_ms)
    kind, currency, base = params.text("type"), params.text("currency"), params.text("baseCoin")
    if params.text("category") and category_of(params) != LINEAR:
        return {"nextPageCursor": "", "list": []}
    rows = [
        row
        for row in reversed(venue.engine.state.executions)
        if start <= row.time_ms <= end
        and (not kind or kind == _log_type(row))
        and (not currency or currency == contract_of(venue.market, row.symbol).settle_coin)
        and (not base or base == contract_of(venue.market, row.symbol).base_coin)
    ]
    chosen, cursor = page(marked(rows, lambda row: f"{row.sequence}:1"), limit, params.text("cursor"))
    return {"nextPageCursor": cursor, "list": [_log_row(venue, row) for row in chosen]}


def _log_type(row: Execution) -> str:
    return {"Funding": "SETTLEMENT", "Settle": "DELIVERY", "BustTrade": "LIQUIDATION"}.get(row.exec_type, "TRADE")


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
        "type": _log_type(row),
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
    """Play money, as the venue's demo account gives it out."""
    wanted = [Params(values) for values in params.objects("utaDemoApplyMoney")]
    sums = [(one.required("coin"), one.decimal("amountStr") or ZERO) for one in wanted]
    if not sums:
        raise Refusal(10001, "params error: utaDemoApplyMoney is empty")
    if params.integer("adjustType", 0) != 0:
        raise Refusal(10001, "params error: adjustType must be 0")
    coins = {contract.settle_coin for contract in venue.market.contracts.values()}
    for coin, amount in sums:
        if coin not in coins or not 0 < amount <= MOST_MONEY:
            raise Refusal(10001, f"params error: coin must be one of {sorted(coins)}, amountStr in 0..{MOST_MONEY}")
    for coin, amount in sums:
        deposit(venue.engine.state, coin, amount)
    return {}


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
        "userID": 1,
        "inviterID": 0,
        "vipLevel": "No VIP",
        "mktMakerLevel": "0",
        "affiliateID": 0,
        "rsaPublicKey": "",
        "isMaster": True,
        "parentUid": "0",
        "kycLevel": "LEVEL_DEFAULT",
        "kycRegion": "",
        "userIDInt64": "1",
        "inviterIDInt64": "0",
        "affiliateIDInt64": "0",
    }


ROUTES = (
    Route("GET", "/v5/account/wallet-balance", wallet_balance, True),
    Route("GET", "/v5/account/info", account_info, True),
    Route("GET", "/v5/account/instruments-info", instruments_info, True),
    Route("GET", "/v5/account/transaction-log", transaction_log, True),
    Route("POST", "/v5/account/set-margin-mode", set_margin_mode, True),
    Route("POST", "/v5/account/demo-apply-money", apply_money, True),
    Route("GET", "/v5/account/fee-rate", fee_rate, True),
    Route("GET", "/v5/user/query-api", query_api, True),
)
