"""What a person commands from afar: the same functions as those of the command line, and one sentence about each."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from trading_assets.accounts import effective
from trading_assets.core.errors import StorageError, TradingAssetsError, UnknownAccountError
from trading_assets.core.messages import Notify
from trading_assets.core.settings import Settings
from trading_assets.core.timeframes import local_ms
from trading_assets.ledger.database import Database
from trading_assets.ledger.risk import RiskState, in_force, read_history
from trading_assets.ledger.strategies import registry_row, seed_registry, set_active
from trading_assets.trading import halt_file
from trading_assets.trading.binding import require_bound
from trading_assets.trading.context import ExecutionContext
from trading_assets.trading.execute import flatten as flattening
from trading_assets.trading.execute.flatten import FlattenReport
from trading_assets.trading.execute.withdraw import waiting, withdraw
from trading_assets.trading.risk import guard as risk_guard
from trading_assets.trading.session.registry import require_books_of_living_session, unreached
from trading_assets.venues import open_exchange, open_market_data


@dataclass(frozen=True)
class Operator:
    """The account that is commanded, or all of them.

    Attributes:
        settings: of environment and file; `account` replaces their account.
        account: the one that was named; empty: the only one, or all for a brake.
        tell: passes messages on to people.
        actor: who commands, for the histories.
    """

    settings: Settings
    database: Database
    tell: Notify
    actor: str
    account: str = ""

    def at(self, account: str) -> Operator:
        """The same person, in front of one account."""
        return replace(self, account=account)

    def shown(self) -> Settings:
        """The settings of the account that is looked at; without keys.

        Raises:
            ConfigurationError: there is none of the name.
        """
        return effective.settings_of(self.database, self.settings, self.account, with_keys=False)

    def meant(self, command: str) -> Settings:
        """The settings of the account that a command means which must not guess; without keys.

        Raises:
            ConfigurationError: there are several and none is named, or there is none of the name.
        """
        known = effective.names(self.database, self.settings)
        if not self.account and len(known) > 1:
            raise UnknownAccountError(
                f"{command} must name one of the accounts {', '.join(known)}: account=NAME. Nothing was done"
            )
        name = effective.one_of(known, self.settings, self.account, command)
        return effective.settings_of(self.database, self.settings, name, with_keys=False)

    def halt(self, reason: str) -> str:
        """Halt by the file in the home first, which needs no database, then in the ledger."""
        try:
            for name in [self.account] if self.account else effective.remembered_names(self.settings):
                self._write_file(name, reason)
        except StorageError as error:
            return f"{self._brake(RiskState.HALTED, reason)} The file could not be written: {error}"
        try:
            return self._brake(RiskState.HALTED, reason)
        except UnknownAccountError:
            halt_file.take_away(self._named(self.account))
            raise
        except TradingAssetsError as error:
            return (
                f"Halted by the file in {self.settings.home}. The ledger was NOT reached: {error}. Machines with "
                "another home obey as soon as a session or reconciliation here can write it."
            )

    def reduce(self, reason: str) -> str:
        """Open nothing new."""
        return self._brake(RiskState.REDUCING, reason)

    def resume(self, reason: str) -> str:
        """Trade again.

        Raises:
            WrongBooksError: a session lives on other books and none on these, or they are another account's.
            ExchangeError: the venue cannot be asked whose the books are.
        """
        settings, names = self.meant("resume"), effective.names(self.database, self.settings)
        require_books_of_living_session(settings, self.database, "resume", names)
        with self.context(settings) as context:
            require_bound(self.database, context.exchange, context.settings)
            before, by_file = risk_guard.resume(
                self.database,
                settings,
                reason=reason,
                actor=self.actor,
                now_ms=context.exchange.now_ms(),
                tell=self.tell,
                others=names,
            )
        gone = "" if by_file is None else f" The file that halted it is gone; it said: {by_file.reason}."
        return self._outcome(settings.account, RiskState.ACTIVE, None if before is None else before.state) + gone

    def flatten(self, reason: str, within_s: float) -> FlattenReport:
        """Halt, and close every position of ours. Raises as `trading.execute.flatten.flatten`."""
        settings = self.meant("flatten")
        self._require_living_books(settings, "flatten")
        self._write_file(settings.account, reason)
        with self.context(settings) as context:
            return flattening.flatten(context, reason=reason, actor=self.actor, within_s=within_s)

    def close(self, symbol: str, within_s: float) -> FlattenReport:
        """Cancel what waits in one symbol and close the position of ours; trading goes on. Raises as `flatten`."""
        settings = self.meant("close")
        self._require_living_books(settings, "close")
        with self.context(settings) as context:
            return flattening.close_symbol(context, symbol, within_s=within_s)

    def stop_strategy(self, name: str) -> str:
        """Open nothing more with a strategy."""
        seed_registry(self.database)
        set_active(self.database, name, False)
        return f"{name} opens nothing more from now on; open positions keep their stops."

    def start_strategy(self, name: str) -> str:
        """Check a strategy, and start it unless it looks ahead. It takes a minute or two of a processor."""
        from trading_assets.backtesting.run import production_engine  # noqa: PLC0415 (numba costs seconds)
        from trading_assets.reporting import strategy_check  # noqa: PLC0415 (as above)
        from trading_assets.strategies.grids import grids_from  # noqa: PLC0415 (as above)

        seed_registry(self.database)
        row = registry_row(self.database, name)
        if row.is_active:
            return f"{name} is started already."
        verdict = strategy_check.before_start(
            row.usable(grids_from(self.settings.parameters)), self.settings, self.database, production_engine()
        )
        notes = "".join(f" {note}." for note in verdict.notes)
        if verdict.refusal is not None:
            return f"{name} was not started: {verdict.refusal}.{notes}"
        set_active(self.database, name, True)
        return f"{name} is backtested from the next hour on, and traded where it is selected.{notes}"

    @contextmanager
    def context(self, settings: Settings) -> Iterator[ExecutionContext]:
        """What an account's orders are sent with; its exchange is closed at the end."""
        keyed = effective.settings_of(self.database, self.settings, settings.account)
        exchange = open_exchange(keyed)
        try:
            yield ExecutionContext(database=self.database, exchange=exchange, settings=keyed, send=self.tell)
        finally:
            exchange.close()

    def _brake(self, state: RiskState, reason: str) -> str:
        """Stop every account, or the one that is named; then cancel what waits at the exchange."""
        names = effective.several_names(self.database, self.settings, self.account)
        now_ms = command_time(self.settings, may_be_local=True)
        told = []
        for name in names:
            if state is RiskState.HALTED:
                self._write_file(name, reason)
            before = risk_guard.command(
                self.database, name, state, reason=reason, actor=self.actor, now_ms=now_ms, tell=self.tell
            )
            told.append(self._outcome(name, state, None if before is None else before.state))
        told += filter(None, (self._withdrawn(name) for name in names))
        left = unreached(self.settings, self.database, names)
        return "\n".join([*told, *(f"NOT reached, it goes on trading: {one}" for one in left)])

    def _withdrawn(self, account: str) -> str:
        held = waiting(self.database, account)
        if not held:
            return ""
        try:
            with self.context(self._named(account)) as context:
                return str(withdraw(context))
        except TradingAssetsError as error:
            return f"Entries wait still, and were not cancelled: {', '.join(held)} ({error})"

    def _outcome(self, account: str, state: RiskState, before: RiskState | None) -> str:
        if before is None:
            held = in_force(read_history(self.database, account), local_ms())
            by = f" (by {held.actor}: {held.reason})" if held.actor else ""
            return f"Account {account} stays {held.state}{by}. {risk_guard.effect(held.state)}"
        return f"Account {account} is {state}, was {before}. {risk_guard.effect(state)}"

    def _named(self, account: str) -> Settings:
        return self.settings.model_copy(update={"account": account})

    def _write_file(self, account: str, reason: str) -> None:
        halt_file.write(self._named(account), reason=reason, actor=self.actor, wall_ms=local_ms())

    def _require_living_books(self, settings: Settings, what: str) -> None:
        names = effective.names(self.database, self.settings)
        require_books_of_living_session(settings, self.database, what, names)


def command_time(settings: Settings, *, may_be_local: bool) -> int:
    """The venue's time; the local clock where it does not answer, for nothing may keep a person from halting."""
    try:
        return open_market_data(settings).now_ms()
    except TradingAssetsError:
        if not may_be_local:
            raise
        return local_ms()
