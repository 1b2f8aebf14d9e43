"""The deliberate faults that `chaos mutants` puts into copies of the program, and what is to find each."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Mutant:
    """A deliberate fault.

    Attributes:
        path: of the module, below the package.
        before, after: the text, which must be there exactly once, and what takes its place.
        kills: so many kills of `chaos orders` at most find it; 0 where a test finds it.
        test: node id below the tests' package that finds it; empty where chaos does.
    """

    name: str
    path: str
    before: str
    after: str
    kills: int = 0
    test: str = ""


STEPS, SUBMIT = "trading/saga/steps.py", "trading/execute/submit.py"
RESTING = "trading/saga/resting.py"
PROTECTION, RECOVERY = "trading/saga/protection.py", "trading/saga/recovery.py"
RECONCILER, COMPARISON = "trading/reconcile/reconciler.py", "trading/reconcile/comparison.py"
REPAIRS = "trading/reconcile/repairs.py"
ATTRIBUTION, ORDERS = "trading/ownership/attribution.py", "ledger/orders.py"
EXECUTIONS, BALANCE, RISK_EVENTS = "ledger/executions.py", "ledger/balance.py", "ledger/risk_events.py"
BYBIT, FIELDS, ACCOUNT_ROWS = "exchange/bybit.py", "exchange/fields.py", "exchange/account_rows.py"

GRID_ACTING, GRID_BOOKING = "trading/grid/acting.py", "trading/grid/booking.py"
GRID_PLANNING, GRID_LAYING, GRIDS = "trading/grid/planning.py", "trading/grid/laying.py", "ledger/grids.py"

MUTANTS: tuple[Mutant, ...] = (
    Mutant(
        "wrong stop level",
        STEPS,
        "order_link_id=intent.order_link_id,\n        stop_loss=intent.stop_loss,",
        "order_link_id=intent.order_link_id,\n        stop_loss=2 * intent.stop_loss - intent.take_profit,",
        20,
    ),
    Mutant("triple quantity", SUBMIT, "qty=size.qty,", "qty=size.qty * 3,", 20),
    Mutant(
        "triple quantity sent",
        STEPS,
        "qty=intent.qty,\n        order_link_id=intent.order_link_id,\n        stop_loss",
        "qty=intent.qty * 3,\n        order_link_id=intent.order_link_id,\n        stop_loss",
        20,
    ),
    Mutant(
        "wrong side",
        SUBMIT,
        'Side.BUY if row["position_type"] == "LONG"',
        'Side.BUY if row["position_type"] != "LONG"',
        20,
    ),
    Mutant(
        "no fence",
        ORDERS,
        "if lease is not None:\n                leases",
        "if lease is None:\n                leases",
        0,
        "ledger/test_orders.py::test_a_reservation_under_a_lost_lease_writes_nothing",
    ),
    Mutant("no send deadline", STEPS, "send_by=SendBy(send_by_wall_ms, context.wall_ms),", "", 100),
    Mutant(
        "the deadline is compared before the signature",
        "exchange/deadline.py",
        "        if self._line.send_by is not None:\n            self._line.send_by.require()\n",
        "",
        0,
        "exchange/test_send_by.py::test_a_process_that_sleeps_anywhere_on_the_way_signs_nothing_late",
    ),
    Mutant(
        "a stop has no send deadline",
        BYBIT,
        '            "set_trading_stop",\n            send_by,\n',
        '            "set_trading_stop",\n',
        0,
        "exchange/test_send_by.py::test_a_stop_is_not_signed_late_wherever_the_process_sleeps",
    ),
    Mutant(
        "a late stop is set on whatever is open",
        "trading/saga/protection.py",
        "    if seen is None or not seen.is_still(ours.position):\n",
        "    if seen is None:\n",
        0,
        "trading/saga/test_stops_in_time.py::test_the_stop_of_ours_is_not_set_on_a_persons_later_position",
    ),
    Mutant(
        "lease ignored",
        SUBMIT,
        "        yield lease\n    finally",
        "        yield lease or leases.holder_of(context.database, name, wall_ms=context.wall_ms())\n    finally",
        80,
    ),
    Mutant(
        "a failed read is an empty one",
        BYBIT,
        "    def positions(self) -> Rows[Position]:\n",
        "    def positions(self) -> Rows[Position]:\n        try:\n            return self._held()\n"
        "        except Exception:\n            return Rows()\n\n    def _held(self) -> Rows[Position]:\n",
        0,
        "chaos/test_failed_lists.py::test_a_list_that_fails_is_not_an_empty_one",
    ),
    Mutant(
        "absence is evidence",
        COMPARISON,
        "(found.seen if is_seen else found.unseen).append(intent)",
        "(found.seen if is_seen else found.ended).append(intent)",
        60,
    ),
    Mutant(
        "attribution by symbol only", ATTRIBUTION, "if holding.entry.side is side and left > 0:", "if left > 0:", 200
    ),
    Mutant(
        "a person's closing takes ours first",
        ATTRIBUTION,
        "    if closer is Closer.OTHERS:\n        left = take_foreign(left)\n",
        "",
        80,
    ),
    Mutant(
        "no second look-up",
        BYBIT,
        '("get_open_orders", "get_order_history")',
        '("get_open_orders",)',
        0,
        "exchange/test_requests.py::test_an_order_is_looked_for_among_open_ones_then_in_the_history",
    ),
    Mutant(
        "exit on any refusal",
        PROTECTION,
        "        except PriceRefusedError:\n            raise\n",
        "        except OrderRejectedError as error:\n            raise PriceRefusedError(str(error)) from error\n",
        0,
        "wild_account/test_unknown_refusals.py::test_another_parameter_error_on_the_stop_closes_nothing_at_once",
    ),
    Mutant(
        "empty equity is zero",
        ACCOUNT_ROWS,
        'equity=required(row, "totalEquity")',
        'equity=amount(row, "totalEquity") or Decimal(0)',
        0,
        "wild_account/test_empty_is_not_zero.py::test_an_equity_that_is_empty_once_halts_nothing",
    ),
    Mutant(
        "told only once ever",
        RISK_EVENTS,
        "    end_risk_events(connection, account, kind, set(texts), time_ms)\n",
        "",
        60,
    ),
    Mutant(
        "differences are not told",
        RECONCILER,
        "differences(found, held, compared, failed,",
        "{} and differences(found, held, compared, failed,",
        20,
    ),
    Mutant(
        "unlimited resend",
        STEPS,
        "return isinstance(answer, NotSentError) and not",
        "return isinstance(answer, ExchangeError) and not",
        0,
        "trading/execute/test_submit.py::test_an_unclear_answer_of_an_order_that_was_not_placed_is_never_sent_again",
    ),
    Mutant(
        "orders in doubt go once more, each by itself",
        STEPS,
        "if not isinstance(refused, OrderRejectedError) or any",
        "if not isinstance(refused, ExchangeError) or any",
        0,
        "trading/execute/test_orders_together.py::"
        "test_a_lost_answer_leaves_every_order_in_doubt_and_each_is_looked_up_by_its_own_id",
    ),
    Mutant(
        "stop is not verified",
        STEPS,
        "    protect(context, intent, order.filled_qty)\n",
        "",
        0,
        "trading/execute/test_submit.py::test_a_missing_stop_is_attached",
    ),
    Mutant(
        "lost stops stay lost",
        REPAIRS,
        "unprotected = {position.symbol: position for position in found.positions if position.stop_loss is None}",
        "unprotected = dict[str, Position]()",
        60,
    ),
    Mutant(
        "target missing",
        STEPS,
        "take_profit=intent.take_profit,\n        price=",
        "take_profit=None,\n        price=",
        20,
    ),
    Mutant(
        "target not restored",
        PROTECTION,
        "(ours.intent.stop_loss, _target(context, ours)), ours.send_by",
        "(ours.intent.stop_loss, None), ours.send_by",
        60,
    ),
    Mutant("leverage not set", STEPS, "context.exchange.set_leverage(intent.symbol, intent.leverage)", "pass", 20),
    Mutant(
        "a signal that does not wait is reserved",
        ORDERS,
        "if intent.signal_id in active and intent.symbol not in planned",
        "if intent.symbol not in planned",
        0,
        "ledger/test_orders.py::test_a_signal_that_does_not_wait_is_not_reserved",
    ),
    Mutant(
        "closing booked by its first state",
        COMPARISON,
        "return min(times, default=None)",
        "return None",
        0,
        "trading/reconcile/test_reconciler.py::"
        "test_a_row_of_an_order_that_fills_over_hours_is_read_again_until_it_ends",
    ),
    Mutant(
        "closing rows do not grow",
        COMPARISON,
        "    if not missing and not pnl and not fees:\n",
        "    if recorded:\n        return []\n    if not missing and not pnl and not fees:\n",
        80,
    ),
    Mutant(
        "a person's looser stop stays",
        COMPARISON,
        "return stop < intent.stop_loss if",
        "return stop > intent.stop_loss if",
        80,
    ),
    Mutant(
        "a stop on a person's position",
        COMPARISON,
        "    if intent.unseen_since_ms is None:\n        return position.size > foreign\n",
        "    return True\n",
        0,
        "trading/reconcile/test_whose_position.py::"
        "test_a_position_that_a_person_opened_after_ours_gets_no_stop_and_is_not_taken_for_ours",
    ),
    Mutant(
        "an unreadable row fails the list",
        FIELDS,
        "            unreadable.append(",
        "            raise\n            unreadable.append(",
        0,
        "wild_account/test_bad_rows.py::test_an_odd_row_of_another_coin_stops_nothing",
    ),
    Mutant(
        "an unknown code is a rejection",
        "exchange/error_mapping.py",
        "CODES.get(code, ErrorKind.AMBIGUOUS)",
        "CODES.get(code, ErrorKind.REJECTED)",
        0,
        "wild_account/test_unknown_refusals.py::test_the_table_says_of_an_unknown_code_that_it_is_ambiguous",
    ),
    Mutant(
        "an outcome left open is a rejection",
        STEPS,
        'return move(context, intent, orders.UNKNOWN, reason=f"outcome unknown: {error}")',
        "return _refused(context, intent, str(error), error)",
        0,
        "trading/execute/test_submit.py::test_an_outcome_stays_unknown_while_the_exchange_does_not_answer",
    ),
    Mutant(
        "no adoption",
        RECONCILER,
        "    settled_now |= repairs.adopt(context, found, report.repaired)\n",
        "",
        0,
        "trading/reconcile/test_whose_position.py::"
        "test_an_order_that_was_given_up_and_filled_all_the_same_is_ours_again",
    ),
    Mutant(
        "an order not found was never sent",
        RECOVERY,
        "        elif position is None:",
        "        elif True:",
        0,
        "trading/saga/test_recovery.py::test_an_order_that_no_list_shows_is_not_given_up_while_its_position_is_open",
    ),
    Mutant(
        "the transaction log is not kept",
        BALANCE,
        "    if values:\n        connection.execute(sa.insert(account_transactions), values)",
        "    if not values:\n        connection.execute(sa.insert(account_transactions), values)",
        20,
    ),
    Mutant("a fee is forgotten", EXECUTIONS, '"fee": execution.fee - fee,', '"fee": execution.fee * 0,', 20),
    Mutant(
        "a halt leaves what rests",
        RESTING,
        "    if stopped:\n        return Cancel(stopped)",
        "    if stopped:\n        return Wait()",
        0,
        "trading/saga/test_resting.py::test_what_rests_is_cancelled_first_when_trading_stops",
    ),
    Mutant(
        "a part that was filled is forgotten",
        STEPS,
        "if order.filled_qty <= 0 and intent.may_rest and has_waited(order):",
        "if intent.may_rest and has_waited(order):",
        0,
        "trading/saga/test_resting.py::test_what_is_filled_of_an_entry_that_is_dropped_is_a_position",
    ),
    Mutant(
        "what a person has changed stays",
        RESTING,
        "    if order.qty != intent.qty:",
        "    if False:",
        0,
        "trading/saga/test_resting.py::test_what_others_have_changed_is_cancelled_and_nothing_is_asked_for_under_a_cancellation",
    ),
    Mutant(
        "an order that waits late is left",
        REPAIRS,
        "            context.exchange.cancel_order(intent.symbol, link)\n",
        "",
        0,
        "trading/saga/test_resting.py::test_an_order_that_came_after_it_was_given_up_is_cancelled",
    ),
    Mutant(
        "a contract not listed is gone",
        "trading/execute/plan.py",
        'is not listed"), final=False',
        'is not listed"), final=True',
        0,
        "wild_account/test_absence_is_no_evidence.py::test_an_empty_list_of_contracts_ends_no_signal",
    ),
    Mutant(
        "a lost stop keeps the tick of before",
        PROTECTION,
        "levels = on_tick_of_now(context, intent, *levels)",
        "pass",
        0,
        "wild_account/test_coins_that_leave.py::test_a_lost_stop_is_set_again_on_the_tick_of_now",
    ),
    Mutant(
        "a late signal waits for the next round",
        "trading/execute/submit.py",
        "[*self._waiting, *came]",
        "[*self._waiting]",
        0,
        "wild_account/test_no_signal_is_lost.py::test_a_signal_that_comes_during_a_round_takes_its_place_by_its_confidence",
    ),
    Mutant(
        "orders of a grid are sent however late",
        GRID_ACTING,
        "                        send_by=send_by,\n",
        "",
        0,
        "trading/grid/test_invariants.py::test_who_woke_late_sends_nothing_that_another_one_may_have_given_up",
    ),
    Mutant(
        "a late answer brings an order back",
        GRIDS,
        ".where(grid_orders.c.order_link_id == link, grid_orders.c.status == INTENT)",
        ".where(grid_orders.c.order_link_id == link)",
        0,
        "trading/grid/test_invariants.py::test_an_answer_that_comes_late_brings_no_order_back",
    ),
    Mutant(
        "a stop that a grid has lost stays lost",
        GRID_PLANNING,
        "if wanted is not None and view.position.stop_loss != wanted:",
        "if wanted is None:",
        0,
        "trading/grid/test_on_embedded.py::test_a_neutral_grid_that_crosses_zero_has_the_stop_of_each_side",
    ),
    Mutant(
        "a level that a person has cancelled comes again",
        GRID_BOOKING,
        "elif by is CancelledBy.REQUEST:",
        "elif by is CancelledBy.OTHER:",
        0,
        "trading/grid/test_on_embedded.py::test_a_person_who_cancels_a_level_blocks_it_and_is_told_once",
    ),
    Mutant(
        "a grid that moves leaves its inventory behind",
        GRID_LAYING,
        "    if not held.held:\n        return list(rows)\n",
        "    return list(rows)\n",
        0,
        "trading/grid/test_on_embedded.py::test_what_is_held_goes_over_to_the_levels_of_another_plan",
    ),
    Mutant(
        "levels keep the tick of before",
        GRID_PLANNING,
        "on_step(cell.open_price, market.tick, farther)",
        "cell.open_price",
        0,
        "trading/grid/test_wild_exchange.py::test_a_tick_that_changes_moves_new_orders_onto_it_and_books_stay_equal",
    ),
    Mutant(
        "a grid waits for a guard that a flat side cannot have",
        GRID_PLANNING,
        "for one in guards} | view.unguarded",
        "for one in guards}",
        0,
        "trading/grid/test_wild_exchange.py::test_a_refused_guard_is_not_asked_for_again_and_again",
    ),
    Mutant(
        "an exit plan moves the stop away",
        "trading/decide/exits.py",
        "new_stop if sign * (new_stop - stop) > 0 and new_stop > 0 else stop",
        "2 * stop - new_stop if sign * (new_stop - stop) > 0 and new_stop > 0 else stop",
        0,
        "trading/saga/test_exits.py::test_a_moved_stop_is_nearer_only_and_nobody_has_moved_it",
    ),
)
"""Every one is found."""
