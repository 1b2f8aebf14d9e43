"""The ops of the jobs `halt`, `reduce`, `resume` and `flatten`: a person's commands from the UI."""

import dagster as dg
from pydantic import Field

from trading_assets.core.errors import ExchangeError
from trading_assets.core.timeframes import local_ms
from trading_assets.defs.ops.execution_context import make_execution_context
from trading_assets.defs.resources import (
    DatabaseResource,
    ExchangeResource,
    NotifierResource,
    SettingsResource,
    require_known_names,
)
from trading_assets.ledger.risk import RiskState
from trading_assets.trading.binding import require_bound
from trading_assets.trading.execute.flatten import flatten
from trading_assets.trading.risk import guard as risk_guard
from trading_assets.trading.session.registry import require_books_of_living_session, unreached


class Why(dg.Config):
    """Why the state is changed: kept in the ledger's history."""

    reason: str = Field("no reason given", description="kept in the history of states")


class FlattenConfig(dg.Config):
    """`confirm` must be true: this closes positions at the market."""

    confirm: bool = Field(False, description="must be true: positions are closed at the market")
    reason: str = Field("flatten", description="kept in the history of states")
    foreign: bool = Field(False, description="close positions that this system did not open, too")


def _state_op(name: str, state: RiskState) -> dg.OpDefinition:
    @dg.op(name=name, description=risk_guard.effect(state))
    def set_state(
        context: dg.OpExecutionContext,
        config: Why,
        settings: SettingsResource,
        database: DatabaseResource,
        exchange: ExchangeResource,
        notifier: NotifierResource,
    ) -> None:
        configured, ledger = settings.get(), database.get()
        account, is_brake = configured.account, state is not RiskState.ACTIVE
        if not is_brake:
            require_known_names()
            require_books_of_living_session(configured, ledger, "resume")
            require_bound(ledger, exchange.account(), configured)
        before = risk_guard.command(
            ledger,
            account,
            state,
            reason=config.reason,
            actor=f"Dagster run {context.run_id}",
            now_ms=_now_ms(exchange, may_be_local=is_brake),
        )
        if before is None:
            context.log.info(f"account {account} is at least as strict as {state.value} already")
        else:
            context.log.info(f"account {account} is {state}, was {before.state}: {risk_guard.effect(state)}")
            notifier.get().notify(f"account {account} is {state.value}", config.reason)
        left = unreached(configured, ledger) if is_brake else []
        if left:
            raise dg.Failure(
                f"account {account} is {state.value}; NOT reached, it goes on trading: {'; '.join(map(str, left))}",
                allow_retries=False,
            )

    return set_state


def _now_ms(exchange: ExchangeResource, *, may_be_local: bool) -> int:
    """The venue's time; the local clock where it does not answer, for nothing may keep a person from halting."""
    try:
        return exchange.market_data().now_ms()
    except ExchangeError:
        if not may_be_local:
            raise
        return local_ms()


halt_trading = _state_op("halt_trading", RiskState.HALTED)
reduce_trading = _state_op("reduce_trading", RiskState.REDUCING)
resume_trading = _state_op("resume_trading", RiskState.ACTIVE)


@dg.op(description="Halts trading and closes every position of ours at the market, reduce-only.")
def close_all_positions(
    context: dg.OpExecutionContext,
    config: FlattenConfig,
    settings: SettingsResource,
    database: DatabaseResource,
    exchange: ExchangeResource,
    notifier: NotifierResource,
) -> None:
    if not config.confirm:
        raise dg.Failure("nothing was closed: set `confirm: true` in the launchpad's config of close_all_positions")
    require_books_of_living_session(settings.get(), database.get(), "flatten")
    execution = make_execution_context(settings, database, exchange, notifier)
    report = flatten(execution, reason=config.reason, actor=f"Dagster run {context.run_id}", foreign=config.foreign)
    context.log.info(str(report))
    context.add_output_metadata(
        {"closed": len(report.closed), "left": len(report.left), "not_ours": len(report.foreign)}
    )
    if report.left or report.unread:
        raise dg.Failure(f"not every position could be closed: {report}")
