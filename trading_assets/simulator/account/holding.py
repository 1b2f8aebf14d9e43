"""Positions as a client commands them: leverage, mode, stops. Everything is checked before anything changes."""

from __future__ import annotations

from decimal import Decimal

from trading_assets.simulator.account import order_rules as rules
from trading_assets.simulator.account import stops
from trading_assets.simulator.account.margin import account_figures, exposure_of
from trading_assets.simulator.account.models import (
    ISOLATED,
    LONG_LEG,
    ONE_WAY,
    SHORT_LEG,
    STOP_LOSS,
    TAKE_PROFIT,
    TRAILING_STOP,
    ZERO,
    Position,
    StopCommand,
)
from trading_assets.simulator.account.placing import check_mode
from trading_assets.simulator.account.pricing import contract_of, is_multiple, last_price, mark_price
from trading_assets.simulator.account.state import AccountState
from trading_assets.simulator.codec import Refusal
from trading_assets.simulator.market.base import Market


def set_leverage(market: Market, state: AccountState, symbol: str, leverage: Decimal, now_ms: int) -> None:
    """Leverage of the present and future positions of a symbol.

    Raises:
        Refusal: 110043 unchanged, 110013 above the maximum, 110012 margin missing, 10001 malformed.
    """
    contract = contract_of(market, symbol)
    mark = mark_price(market, contract, now_ms)
    indexes = (LONG_LEG, SHORT_LEG) if state.is_hedged(symbol, contract.settle_coin) else (ONE_WAY,)
    new = [leg for index in indexes if (leg := state.look_up(symbol, index)).key not in state.positions]
    legs = [*state.legs(symbol), *new]
    largest = max(exposure_of(state, leg, mark).largest for leg in legs)
    rules.check_leverage(contract, legs, leverage, largest)
    before = account_figures(state, market, now_ms)
    old = {leg.key: leg.leverage for leg in legs}
    for leg in legs:
        state.positions[leg.key] = leg
        leg.leverage = leverage
    try:
        rules.check_leverage_margin(before, account_figures(state, market, now_ms))
    except Refusal:
        for leg in legs:
            leg.leverage = old[leg.key]
        for leg in new:
            del state.positions[leg.key]
        raise
    for leg in legs:
        leg.updated_ms = now_ms
        state.touch(leg)
    state.next_sequence()


def set_margin_mode(market: Market, state: AccountState, mode: str, now_ms: int) -> None:
    """Cross or isolated margin, for all of the account; asking for what is so already is no error.

    Raises:
        Refusal: 110073 what is open would lack margin.
    """
    header, before = state.header, state.header.margin_mode
    if mode == before:
        return
    header.margin_mode = mode
    account = account_figures(state, market, now_ms)
    if account.must_be_liquidated or account.initial_margin > account.backing:
        header.margin_mode = before
        raise Refusal(110073, "Set margin mode failed")
    for position in state.open_positions():
        if position.added_margin:
            position.added_margin = ZERO
            state.touch(position)
    state.next_sequence()
    state.touch(header)


def add_margin(
    market: Market, state: AccountState, symbol: str, position_idx: int, amount: Decimal, now_ms: int
) -> Position:
    """Add margin to an isolated position, or with an `amount` below zero take back what was added.

    Raises:
        Refusal: 10001 cross margin or no position, 110014 the wallet has not so much, 110027 nothing would change.
    """
    contract = contract_of(market, symbol)
    _check_isolated(state)
    check_mode(state, contract, position_idx)
    position = state.look_up(symbol, position_idx)
    if not position.size:
        raise Refusal(10001, "position is zero, margin cannot be added")
    if not amount:
        raise Refusal(110027, "Margin has not been modified.")
    if amount > account_figures(state, market, now_ms).available or position.added_margin + amount < 0:
        raise Refusal(110014, "Available balance is insufficient to add additional margin.")
    position.added_margin += amount
    position.updated_ms = now_ms
    position.sequence = state.next_sequence()
    state.touch(position)
    return position


def set_auto_add_margin(
    market: Market, state: AccountState, symbol: str, position_idx: int, on: bool, now_ms: int
) -> None:
    """Note the client's wish; nothing is added by itself here.

    Raises:
        Refusal: 10001 cross margin or the wrong leg, 110027 nothing would change.
    """
    contract = contract_of(market, symbol)
    _check_isolated(state)
    check_mode(state, contract, position_idx)
    position = state.position(symbol, position_idx)
    if position.auto_add_margin is on:
        raise Refusal(110027, "Margin has not been modified.")
    position.auto_add_margin = on
    position.updated_ms = now_ms
    position.sequence = state.next_sequence()
    state.touch(position)


def _check_isolated(state: AccountState) -> None:
    if state.header.margin_mode != ISOLATED:
        raise Refusal(10001, "margin can be added only in isolated margin mode")


def switch_mode(market: Market, state: AccountState, symbol: str, coin: str, *, hedge: bool) -> None:
    """One-way or hedge mode, of a symbol or of all of a settle coin.

    By coin nothing is refused: symbols with a position or an open order stay as they are, the others change.

    Raises:
        Refusal: 110025 unchanged, 110024 a position and 110028 an order of the symbol is open.
    """
    held = {position.symbol for position in state.open_positions()}
    waiting = {order.symbol for order in state.open_orders.values()}
    if symbol:
        if state.is_hedged(symbol, contract_of(market, symbol).settle_coin) is hedge:
            raise Refusal(110025, "Position mode is not modified")
        if symbol in held:
            raise Refusal(110024, "You have an existing position, so the position mode cannot be switched")
        if symbol in waiting:
            raise Refusal(110028, "You have existing open orders, so the position mode cannot be switched")
        symbols, staying = {symbol}, set[str]()
    else:
        symbols = {name for name, contract in market.contracts.items() if contract.settle_coin == coin}
        staying = {name for name in symbols & (held | waiting) if state.is_hedged(name, coin) is not hedge}
    header = state.header
    header.hedged = [name for name in header.hedged if name not in symbols and (symbol or name != coin)]
    header.one_way = [name for name in header.one_way if name not in symbols]
    if symbol or hedge:
        (header.hedged if hedge else header.one_way).append(symbol or coin)
    (header.one_way if hedge else header.hedged).extend(sorted(staying))
    state.touch(header)
    for name in (symbols - staying) & {position.symbol for position in state.positions.values()}:
        for index in (LONG_LEG, SHORT_LEG) if hedge else (ONE_WAY,):
            state.touch(state.position(name, index))


def change_stops(market: Market, state: AccountState, command: StopCommand, now_ms: int) -> None:
    """Set, change or (with zero) cancel stop and target of an open position; None leaves one as it is.

    In Partial mode a pair is added.

    Raises:
        Refusal: 34040 nothing would change, 10001 no position, or a level on the wrong side.
    """
    contract = contract_of(market, command.symbol)
    check_mode(state, contract, command.position_idx)
    position = state.look_up(command.symbol, command.position_idx)
    side = position.side
    if side is None:
        raise Refusal(10001, "can not set tp/sl/ts for zero position")
    partial = command.tpsl_mode == "Partial"
    wanted = _levels(command)
    levels = [level for level in wanted if (level.price if partial else _changes(state, position, level))]
    trails = command.trailing_stop is not None and _trails_anew(market, state, position, command, now_ms)
    if not levels and not trails:
        raise Refusal(34040, "not modified")
    prices = {level.kind: level.price or None for level in levels}
    last = last_price(market, contract, now_ms)
    rules.check_stops(contract, side, last, prices.get(STOP_LOSS), prices.get(TAKE_PROFIT))
    rules.check_exit_limits(contract, command)
    size = abs(position.size)
    if partial and levels:
        qty = size if command.size is None else command.size
        rules.check_quantity(contract, qty, at_market=True)
        rules.check_parts(state.orders_of(position), len(levels))
        stops.attach_part(market, state, position, levels, min(qty, size), None, now_ms)
    if trails:
        stops.change_trailing(market, state, position, command.trailing_stop or ZERO, command.active_price, now_ms)
    if partial:
        return
    for level in levels:
        existing = stops.stop_order(state, position, level.kind)
        if level.price:
            stops.attach(market, state, position, level, "", now_ms)
        elif existing is not None:
            stops.end(state, existing, stops.BY_USER, now_ms)


def _levels(command: StopCommand) -> list[stops.Level]:
    levels = []
    if command.stop_loss is not None:
        levels.append(stops.Level(STOP_LOSS, command.stop_loss, command.sl_trigger_by, command.sl_limit_price))
    if command.take_profit is not None:
        levels.append(stops.Level(TAKE_PROFIT, command.take_profit, command.tp_trigger_by, command.tp_limit_price))
    return levels


def _trails_anew(market: Market, state: AccountState, position: Position, command: StopCommand, now_ms: int) -> bool:
    """Whether the trailing stop that is asked for differs from the one there is.

    Raises:
        Refusal: distance or activation price are invalid.
    """
    contract = contract_of(market, position.symbol)
    distance, active = command.trailing_stop, command.active_price
    existing = stops.stop_order(state, position, TRAILING_STOP)
    if not distance:
        return existing is not None
    last = last_price(market, contract, now_ms)
    if distance < 0 or not is_multiple(distance, contract.tick_size) or distance >= last:
        raise Refusal(10001, "params error: trailingStop invalid")
    if active is not None:
        rules.check_price(contract, "activePrice", active)
        if active <= last if position.size > 0 else active >= last:
            raise Refusal(10001, "params error: activePrice must lie on the side of profit of the last price")
    return existing is None or (existing.trailing, existing.active_price) != (distance, active)


def _changes(state: AccountState, position: Position, level: stops.Level) -> bool:
    existing = stops.stop_order(state, position, level.kind)
    if existing is None:
        return level.price != 0
    return (level.price, level.trigger_by) != (existing.trigger_price, existing.trigger_by)
