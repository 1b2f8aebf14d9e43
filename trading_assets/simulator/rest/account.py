"""`/v5/account/...` and `/v5/user/...`: wallet, account settings, fees, key. Read only."""

from __future__ import annotations

from decimal import Decimal

from trading_assets.market.timeframes import iso
from trading_assets.simulator.account.margin import total
from trading_assets.simulator.account.models import MAKER_FEE, TAKER_FEE, ZERO, Balance
from trading_assets.simulator.account.pricing import contract_of
from trading_assets.simulator.rest.common import LINEAR, Route, category_of
from trading_assets.simulator.venue import Venue
from trading_assets.simulator.wire import Params, Refusal, fixed, plain, trimmed

UNIFIED_TRADING_ACCOUNT_2 = 5


def wallet_balance(venue: Venue, params: Params, now_ms: int) -> object:
    if params.required("accountType") != "UNIFIED":
        raise Refusal(10001, "accountType only support UNIFIED.")
    wanted = {coin.strip() for coin in params.text("coin").split(",") if coin.strip()}
    account = venue.engine.figures(now_ms)
    coins = [
        _coin_row(venue, balance, now_ms)
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
    return {"list": [row]}


def _coin_row(venue: Venue, balance: Balance, now_ms: int) -> dict[str, object]:
    valued = [item for item in venue.engine.figures(now_ms).positions if item.contract.settle_coin == balance.coin]
    unrealised = total(item.unrealised for item in valued)
    equity = trimmed(balance.wallet + unrealised)
    return {
        "availableToBorrow": "",
        "bonus": "0",
        "accruedInterest": "0",
        "availableToWithdraw": "",
        "totalOrderIM": "0",
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
        "marginMode": "REGULAR_MARGIN",
        "updatedTime": str(venue.engine.state.header.created_ms),
        "unifiedMarginStatus": UNIFIED_TRADING_ACCOUNT_2,
        "dcpStatus": "OFF",
        "timeWindow": 10,
        "smpGroup": 0,
        "isMasterTrader": False,
        "spotHedgingStatus": "OFF",
    }


def fee_rate(venue: Venue, params: Params, now_ms: int) -> object:
    symbol = params.text("symbol")
    if category_of(params) != LINEAR:
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
    Route("GET", "/v5/account/fee-rate", fee_rate, True),
    Route("GET", "/v5/user/query-api", query_api, True),
)
