"""The ops of the jobs `halt`, `reduce`, `resume` and `flatten`: a person's commands from the UI."""

import dagster as dg
from pydantic import Field

from trading_assets.accounts import effective
from trading_assets.core.errors import StorageError, TradingAssetsError, UnknownAccountError
from trading_assets.core.foreign_text import plain
from trading_assets.core.settings import Settings
from trading_assets.core.timeframes import local_ms
from trading_assets.defs.instance.concurrency_groups import ACTOR_TAG
from trading_assets.defs.ops.execution_context import make_execution_context
from trading_assets.defs.resources import (
    DatabaseResource,
    ExchangeResource,
    NotifierResource,
    SettingsResource,
    require_known_names,
)
from trading_assets.ledger.risk import RiskState, StateChange
from trading_assets.trading import account_refusals, halt_file
from trading_assets.trading.execute.flatten import flatten
from trading_assets.trading.execute.withdraw import waiting, withdraw
from trading_assets.trading.risk import confirmations
from trading_assets.trading.risk import guard as risk_guard
from trading_assets.trading.risk.confirmations import Confirmation
from trading_assets.trading.session.registry import require_books_of_living_session, unreached


class Why(dg.Config):
    """Why the state is changed: kept in the ledger's history."""

    reason: str = Field("no reason given", description="kept in the history of states")


class StopConfig(Why):
    """Stopping is for every account unless one is named."""

    account: str = Field("", description="this account alone; empty: every account")


class ResumeConfig(Why):
    """It risks money, so it needs a code that only the command line of this installation gives."""

    confirmation: str = Field("", description="one-time code of: trading-assets confirm resume")
    all_accounts: bool = Field(
        False, description="take a file HALTED away that was made by hand, too: it halts every account of the home"
    )
    account: str = Field("", description="name of the account; needed where there are several")


class FlattenConfig(Why):
    """It closes positions at the market, so it needs a code that only the command line of this installation gives."""

    confirmation: str = Field("", description="one-time code of: trading-assets confirm flatten (--foreign)")
    foreign: bool = Field(False, description="close positions that this system did not open, too")
    account: str = Field("", description="name of the account; needed where there are several")


def _stop_op(name: str, state: RiskState) -> dg.OpDefinition:
    @dg.op(name=name, description=risk_guard.effect(state))
    def set_state(
        context: dg.OpExecutionContext,
        config: StopConfig,
        settings: SettingsResource,
        database: DatabaseResource,
        exchange: ExchangeResource,
        notifier: NotifierResource,
    ) -> None:
        _stop(context, state, config, settings, database, exchange, notifier)

    return set_state


halt_trading = _stop_op("halt_trading", RiskState.HALTED)
reduce_trading = _stop_op("reduce_trading", RiskState.REDUCING)


@dg.op(description=risk_guard.effect(RiskState.ACTIVE))
def resume_trading(
    context: dg.OpExecutionContext,
    config: ResumeConfig,
    settings: SettingsResource,
    database: DatabaseResource,
    exchange: ExchangeResource,
    notifier: NotifierResource,
) -> None:
    require_known_names()
    base, account = settings.installed(), settings.one_name(config.account, "resume")
    held = settings.get(account)
    require_books_of_living_session(held, database.get(), "resume", settings.names())
    confirmed = confirmations.use(held, "resume", config.confirmation)
    account_refusals.require_bound(make_execution_context(settings, database, exchange, notifier, account))
    before, by_file = risk_guard.resume(
        database.get(),
        held,
        reason=config.reason,
        actor=_actor(context, confirmed),
        now_ms=_now_ms(exchange, may_be_local=False),
        tell=notifier.get(account).notify,
        all_accounts=config.all_accounts,
        others=settings.names(),
    )
    if by_file is not None:
        path = halt_file.path_of(base)
        context.log.info(plain(f"the file {path} no longer halts account {account}; it said: {by_file.reason}"))
    _say(context, account, RiskState.ACTIVE, before)


def _stop(
    context: dg.OpExecutionContext,
    state: RiskState,
    config: StopConfig,
    settings: SettingsResource,
    database: DatabaseResource,
    exchange: ExchangeResource,
    notifier: NotifierResource,
) -> None:
    """Halt or reduce every account, or the one that is named. The file comes first: it needs no ledger."""
    base, actor, halts = settings.installed(), _actor(context), state is RiskState.HALTED
    written = [config.account] if config.account else effective.remembered_names(base)
    for name in written if halts else ():
        _write_halt_file(context, base.model_copy(update={"account": name}), config.reason, actor)
    now_ms = _now_ms(exchange, may_be_local=True)
    try:
        names = settings.several_names(config.account)
    except UnknownAccountError:
        if halts:
            halt_file.take_away(base.model_copy(update={"account": config.account}))  # there is no such account
        raise
    for account in names:
        if halts and account not in written:
            _write_halt_file(context, base.model_copy(update={"account": account}), config.reason, actor)
        before = risk_guard.command(
            database.get(),
            account,
            state,
            reason=config.reason,
            actor=actor,
            now_ms=now_ms,
            tell=notifier.get(account).notify,
        )
        _say(context, account, state, before)
    for account in names:  # when all of them are stopped
        if waiting(database.get(), account):
            try:
                found = str(withdraw(make_execution_context(settings, database, exchange, notifier, account)))
            except TradingAssetsError as error:
                found = f"entries wait at the exchange, and were not cancelled: {error}"
            context.log.info(plain(found))
    left = [one for one in unreached(base, database.get(), names) if not config.account or one.account in names]
    if left:
        raise dg.Failure(
            f"{', '.join(names)} {'is' if len(names) == 1 else 'are'} {state.value}; NOT reached, it goes on trading: "
            f"{'; '.join(map(str, left))}",
            allow_retries=False,
        )


def _say(context: dg.OpExecutionContext, account: str, state: RiskState, before: StateChange | None) -> None:
    if before is None:
        context.log.info(f"account {account} is at least as strict as {state.value} already")
    else:
        context.log.info(f"account {account} is {state.value}, was {before.state.value}: {risk_guard.effect(state)}")


def _write_halt_file(context: dg.OpExecutionContext, settings: Settings, reason: str, actor: str) -> None:
    """The way to halt that needs no database; where it cannot be written, the ledger alone says it."""
    try:
        halt_file.write(settings, reason=reason, actor=actor, wall_ms=local_ms())
    except StorageError as error:
        context.log.warning(plain(error))


def _actor(context: dg.OpExecutionContext, confirmed: Confirmation | None = None) -> str:
    """Who gave the command, as precisely as is known: who made the code, who asked the web server, which run."""
    asked = context.run.tags.get(ACTOR_TAG)
    parts = [confirmed.actor if confirmed else None, asked, f"Dagster run {context.run_id}"]
    return ", ".join(part for part in parts if part)


def _now_ms(exchange: ExchangeResource, *, may_be_local: bool) -> int:
    """The venue's time; the local clock where it does not answer, for nothing may keep a person from halting."""
    try:
        return exchange.market_data().now_ms()
    except TradingAssetsError:
        if not may_be_local:
            raise
        return local_ms()


@dg.op(description="Halts trading and closes every position of ours at the market, reduce-only.")
def close_all_positions(
    context: dg.OpExecutionContext,
    config: FlattenConfig,
    settings: SettingsResource,
    database: DatabaseResource,
    exchange: ExchangeResource,
    notifier: NotifierResource,
) -> None:
    account = settings.one_name(config.account, "flatten")
    held = settings.get(account, with_keys=False)
    require_books_of_living_session(held, database.get(), "flatten", settings.names())
    action = "flatten foreign" if config.foreign else "flatten"
    confirmed = confirmations.use(held, action, config.confirmation)
    actor = _actor(context, confirmed)
    _write_halt_file(context, held, config.reason, actor)
    try:
        execution = make_execution_context(settings, database, exchange, notifier, account)
    except TradingAssetsError as error:
        now_ms = _now_ms(exchange, may_be_local=True)
        risk_guard.command(
            database.get(),
            account,
            RiskState.HALTED,
            reason=config.reason,
            actor=actor,
            now_ms=now_ms,
            tell=notifier.get(account).notify,
        )
        raise dg.Failure(plain(f"trading is HALTED, but nothing was closed, look at the exchange: {error}")) from error
    report = flatten(execution, reason=config.reason, actor=actor, foreign=config.foreign)
    context.log.info(plain(report))
    context.add_output_metadata(
        {"closed": len(report.closed), "left": len(report.left), "not_ours": len(report.foreign)}
    )
    if report.left or report.unread:
        raise dg.Failure(plain(f"not every position could be closed: {report}"))
