"""The peak of equity follows what is paid in and out, whatever balance and transaction log show first."""

from __future__ import annotations

import tempfile
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trading_assets.core.models import Transaction, TransactionKind, Wallet
from trading_assets.exchange import account_rows
from trading_assets.ledger import balance
from trading_assets.ledger.database import Database

D = Decimal


class Balances:
    """An account whose balance and transaction log become visible at different times."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.dollars, self._number = D(1000), 0
        self._unseen: list[Transaction] = []
        self.read(0)

    def logged(self, change: str, kind: TransactionKind, time_ms: int) -> None:
        self._number += 1
        row = Transaction(
            f"row-{self._number}", kind, "X", "USDT", "", D(change), D(0), D(0), D(0), "", time_ms
        )  # fmt: skip
        self._unseen.append(row)

    def read(self, time_ms: int, *, told: bool = True) -> balance.Unexplained:
        """One pass: balance (where it is told) and log as the exchange shows them now."""
        balances = {"USDT": self.dollars, "BTC": D(1)} if told else {}
        wallet = Wallet(self.dollars, self.dollars, self.dollars, D(0), D(0), D(0), balances)
        with self._database.write() as connection:
            new = balance.add_transactions(connection, "main", self._unseen)
            return balance.add_equity(connection, "main", wallet, time_ms, logged=new)

    @property
    def drawdown(self) -> Decimal:
        return balance.peak_equity(self._database, "main") - self.dollars


@pytest.mark.parametrize("change", ["-400", "400"])
@pytest.mark.parametrize("first", ["balance", "log", "both"])
def test_what_is_paid_in_or_out_is_no_drawdown_whatever_shows_it_first(
    database: Database, change: str, first: str
) -> None:
    account = Balances(database)
    if first != "log":
        account.dollars += D(change)
    if first != "balance":
        account.logged(change, TransactionKind.TRANSFER, 5_000)
    remainder = account.read(5_000)
    assert (remainder.amount == 0) == (first == "both")
    account.read(20_000)
    assert account.drawdown == 0
    if first == "log":
        account.dollars += D(change)
    elif first == "balance":
        account.logged(change, TransactionKind.TRANSFER, 5_000)
    assert account.read(30_000) == balance.Unexplained()
    assert account.drawdown == 0
    # A loss after it is one.
    account.dollars -= 100
    account.logged("-100", TransactionKind.TRADE, 31_000)
    account.read(32_000)
    assert account.drawdown == 100


def test_a_loss_whose_row_is_late_is_a_loss_all_the_same(database: Database) -> None:
    account = Balances(database)
    account.dollars -= 100
    assert account.read(5_000).amount == -100
    account.logged("-100", TransactionKind.TRADE, 4_000)
    assert account.read(20_000).amount == 0
    assert account.drawdown == 100


def test_a_balance_that_is_not_told_for_a_pass_leaves_no_remainder(database: Database) -> None:
    account = Balances(database)
    account.dollars -= 100
    account.logged("-100", TransactionKind.TRADE, 4_000)
    assert account.read(5_000, told=False).amount == 100
    assert account.read(20_000) == balance.Unexplained()
    assert account.drawdown == 100


def test_what_the_log_never_tells_is_a_loss_after_a_while_and_told_for_a_day(database: Database) -> None:
    account = Balances(database)
    account.dollars -= 100
    assert not account.read(5_000).is_late(5_000)
    wait = balance.UNEXPLAINED_WAIT_MS
    late = account.read(5_000 + wait)
    assert late == balance.Unexplained(D(-100), 5_000) and late.is_late(5_000 + wait)
    assert account.drawdown == 100
    assert account.read(5_000 + balance.UNEXPLAINED_KEPT_MS) == balance.Unexplained()
    assert account.drawdown == 100
    # The row comes after all.
    account.logged("-100", TransactionKind.TRADE, 4_000)
    assert account.read(6_000 + balance.UNEXPLAINED_KEPT_MS).amount == 100


_AMOUNTS = st.integers(-300, 300).filter(bool)


@pytest.mark.slow
@given(
    st.lists(
        st.tuples(_AMOUNTS, st.sampled_from([TransactionKind.TRADE, TransactionKind.TRANSFER]), st.integers(-3, 3)),
        max_size=12,
    )
)
@settings(max_examples=30)
def test_once_both_are_shown_the_drawdown_is_that_of_trading(changes: list[tuple[int, TransactionKind, int]]) -> None:
    """However balance and log lag behind each other, by a few passes each."""
    with tempfile.TemporaryDirectory() as folder:
        _require_law(Balances(Database(f"sqlite:///{folder}/ledger.db")), changes)


def _require_law(account: Balances, changes: list[tuple[int, TransactionKind, int]]) -> None:
    events: list[tuple[int, int, str, TransactionKind]] = []
    traded, peak = 0, 0
    for place, (change, kind, lag) in enumerate(changes):
        events += [(10 * place + max(lag, 0), change, "balance", kind), (10 * place - min(lag, 0), change, "log", kind)]
        traded += change if kind is TransactionKind.TRADE else 0
        peak = max(peak, traded)
    passes = 10 * len(changes) + 5
    for number in range(passes):
        for _, change, what, kind in [one for one in events if one[0] == number]:
            if what == "balance":
                account.dollars += change
            else:
                account.logged(str(change), kind, 1000 * number)
        remainder = account.read(1000 * number + 1)
    assert not changes or remainder == balance.Unexplained()
    assert account.drawdown == peak - traded


@pytest.mark.parametrize(
    ("word", "kind"),
    [
        *((word, TransactionKind.TRANSFER) for word in ("TRANSFER_IN", "TRANSFER_OUT", "WITHDRAW", "DEPOSIT", "BONUS")),
        *((word, TransactionKind.TRANSFER) for word in ("FLEXIBLE_STAKING_REFUND", "LOANS_PLEDGE_ASSET", "AIRDROP")),
        *((word, TransactionKind.OTHER) for word in ("INTEREST", "FEE_REFUND", "CURRENCY_SELL", "NEVER_HEARD_OF")),
        ("TRADE", TransactionKind.TRADE),
        ("SETTLEMENT", TransactionKind.FUNDING),
        ("ADL", TransactionKind.ADL),
    ],
)
def test_what_moves_money_in_or_out_is_told_from_what_earns_or_costs(word: str, kind: TransactionKind) -> None:
    row = {"id": "1", "type": word, "currency": "USDT", "change": "5", "cashBalance": "9", "transactionTime": "1"}
    assert account_rows.transaction(row).kind is kind


def test_two_accounts_whose_venues_number_alike_have_a_row_each(database: Database) -> None:
    row = Transaction("row-1", TransactionKind.TRADE, "X", "USDT", "", D(-1), D(9), D(1), D(0), "", 5_000)
    with database.write() as connection:
        for account in ("main", "second"):
            assert balance.add_transactions(connection, account, [row]) == [row]
            assert balance.add_transactions(connection, account, [row]) == []
