"""Takes commands from Telegram by long polling: only outgoing connections, by one process at a time.

A command is written into the ledger before it is obeyed, together with how far the chats were read; so none is lost,
and none is done twice. One that was begun by a process which died is done again where that is harmless (`halt`,
`reduce`, looking), and is answered with "interrupted" elsewhere. Answers are sent until the messenger takes them.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from trading_assets.accounts import effective
from trading_assets.core.errors import StorageError, TradingAssetsError
from trading_assets.core.foreign_text import get_logger, plain
from trading_assets.core.messages import Kind, Message, Notify, Severity
from trading_assets.core.settings import Settings
from trading_assets.core.timeframes import DAY_MS, HOUR_MS, MINUTE_MS, hour_key, local_ms
from trading_assets.ledger import chat
from trading_assets.ledger.chat import Command, State
from trading_assets.ledger.database import Database
from trading_assets.ledger.leases import Lease
from trading_assets.notifications.telegram import LONGEST_TEXT, TelegramApi, TelegramError, escaped
from trading_assets.service import chat_commands
from trading_assets.service.actions import Operator
from trading_assets.service.chat_commands import ALWAYS, Reply, Role
from trading_assets.trading import halt_file

_log = get_logger(__name__)

POLL_S = 20
TOO_OLD_MS = 60_000
"""After a night offline Telegram delivers a day's commands at once: only `halt` and `reduce` are still meant."""

OFFSET_HOLDS_MS = 6 * DAY_MS
"""Telegram numbers updates anew after a week without any."""

ANSWER_WITHIN_MS = 15 * MINUTE_MS
STRANGERS_KEPT = 100
"""Most refused commands that are written in an hour; whoever finds the bot could fill the ledger."""

_LONGEST_COMMAND = 500
_ANONYMOUS_ADMIN = 1087968824
_ALLOWED = ("message", "callback_query")
_REST_S, _LONGEST_REST_S = 2.0, 60.0
_CONFLICT_REST_S = 30.0
INTERRUPTED = "Your command was interrupted, and what it did is not known: look at /status and /positions"


@dataclass(frozen=True)
class Access:
    """Who is obeyed."""

    users: Mapping[int, Role]
    groups: frozenset[int]

    @classmethod
    def of(cls, settings: Settings) -> Access:
        """What the settings say."""
        roles = {user: Role[role.upper()] for user, role in settings.telegram_users.items()}
        return cls(roles, frozenset(settings.telegram_chats))

    def role(self, command: Command) -> Role | None:
        """Of who wrote a command, where it was written; None: he is a stranger there."""
        is_private = command.chat_id == command.user_id
        if not is_private and command.chat_id not in self.groups:
            return None
        return self.users.get(command.user_id)


def bot_name(settings: Settings) -> str:
    """The bot in the ledger; it tells nothing of the token."""
    token = settings.telegram_token.get_secret_value() if settings.telegram_token is not None else ""
    return f"telegram:{hashlib.sha256(token.encode()).hexdigest()[:12]}"


class Bot:
    """One bot, one account.

    Args:
        tell: passes messages on to people.
        ends: set when the process is to end; what is being done is finished.
        lease: the current lease on the bot's chats, renewed elsewhere.
    """

    def __init__(
        self,
        settings: Settings,
        database: Database,
        tell: Notify,
        ends: threading.Event,
        lease: Callable[[], Lease],
        *,
        wall_ms: Callable[[], int] = local_ms,
        poll_s: float = POLL_S,
    ) -> None:
        if settings.telegram_token is None:
            raise ValueError("a bot needs the setting telegram_token")
        self._settings, self._database, self._tell, self._ends, self._lease = settings, database, tell, ends, lease
        self._wall_ms, self._poll_s = wall_ms, poll_s
        self._api = TelegramApi(settings.telegram_token, settings.telegram_api_url)
        self._poll_api = TelegramApi(settings.telegram_token, settings.telegram_api_url)
        self._access = Access.of(settings)
        self.name = bot_name(settings)
        self._our_name: str | None = None
        self._slow: threading.Thread | None = None
        self._conflict_told = False
        self._offset: tuple[int, int] | None = None
        self._outcomes: dict[int, tuple[Command, State, Reply]] = {}
        self._answering = threading.Lock()
        self._next_poll_s = 0.0

    def run(self) -> None:
        """Take commands until the process is to end. What a dead process has left comes first."""
        rest_s = 0.0
        try:
            self._take_over()
            while not self._ends.wait(rest_s):
                rest_s = self._round(rest_s)
        finally:
            if self._slow is not None:
                self._slow.join()
            self._send_answers()
            self._api.close()
            self._poll_api.close()

    def _round(self, rest_s: float) -> float:
        """Read what is new, obey and answer. Return how long to rest."""
        try:
            if self._our_name is None:
                self._our_name = str(self._api.call("getMe").get("username", ""))
                self._api.call("setMyCommands", commands=_menu())
            updates = self._poll()
            self._conflict_told = False
            if updates:
                self._receive(updates)
            self._obey()
            self._next_poll_s = self._poll_s if self._send_answers() else _REST_S
        except TelegramError as error:
            self._next_poll_s = 0.0
            return self._failed(error, rest_s)
        except TradingAssetsError as error:
            self._next_poll_s = 0.0  # what was taken and not done yet waits for no news
            _log.warning("commands by chat wait: %s", error)
            return min(max(rest_s * 2, _REST_S), _LONGEST_REST_S)
        return 0.0

    def _failed(self, error: TelegramError, rest_s: float) -> float:
        if error.number == 409:
            if not self._conflict_told:
                self._conflict_told = True
                text = "another program reads this bot's chats, or it has a webhook: commands may not arrive here"
                _log.warning("%s: %s", text, error)
                self._tell(Message("commands by chat", f"{text} ({error})", Kind.SYSTEM, Severity.WARNING))
            return _CONFLICT_REST_S
        _log.warning("the Bot API: %s", error)
        if error.retry_after_s:
            return float(error.retry_after_s)
        return min(max(rest_s * 2, _REST_S), _LONGEST_REST_S)

    def _poll(self) -> list[dict[str, Any]]:
        """Wait for updates, and not for the messenger once the process is to end: nothing is confirmed by a poll.

        The first poll waits for none, as those after a failure: what a dead process has left is done at once.
        """
        given: dict[str, Any] = {"timeout": int(self._next_poll_s), "allowed_updates": list(_ALLOWED), "limit": 50}
        if self._offset is None:
            self._offset = chat.next_update_id(self._database, self.name)
        if (offset := self._offset_in_force()) is not None:
            given["offset"] = offset
        found: list[Any] = []

        def ask() -> None:
            try:
                found.append(self._poll_api.call("getUpdates", read_s=self._poll_s + 10, **given))
            except TelegramError as error:
                found.append(error)

        thread = threading.Thread(target=ask, name="telegram-poll", daemon=True)
        thread.start()
        while thread.is_alive() and not self._ends.is_set():
            thread.join(0.2)
            self._follow_slow()
        if not found:
            return []
        if isinstance(found[0], TelegramError):
            raise found[0]
        return [one for one in found[0] if isinstance(one, dict)]

    def _follow_slow(self) -> None:
        """Answer what is done beside, and begin the next that waits for it: neither waits for news."""
        slow = self._slow
        if slow is None:
            return
        has_ended = not slow.is_alive()
        self._send_answers()
        if has_ended:
            self._slow = None
            self._obey()

    def _offset_in_force(self) -> int | None:
        """The stored offset. After days without an update the messenger may number them anew, below it."""
        if self._offset is None or self._wall_ms() - self._offset[1] > OFFSET_HOLDS_MS:
            return None
        return self._offset[0]

    def _receive(self, updates: Sequence[dict[str, Any]]) -> None:
        now_ms = self._wall_ms()
        commands = [command for update in updates for command in self._commands_in(update)]
        try:
            self._write(updates, commands, now_ms)
        except StorageError:
            self._halt_without_ledger(commands)
            raise

    def _write(self, updates: Sequence[dict[str, Any]], commands: Sequence[Command], now_ms: int) -> None:
        """Write the commands of those who are obeyed, some of strangers', and how far the chats were read."""
        spare = STRANGERS_KEPT - chat.count_refused_since(self._database, self.name, now_ms - HOUR_MS)
        kept: list[Command] = []
        for one in commands:
            if self._access.role(one) is not None:
                kept.append(one)
            elif spare > 0:
                spare -= 1
                kept.append(replace(one, state=State.REFUSED, text=_shown(one)))
        next_id = max(self._offset_in_force() or 0, *(int(update["update_id"]) + 1 for update in updates))
        new = chat.receive(
            self._database,
            self.name,
            self._settings.account,
            kept,
            next_id,
            lease=self._lease(),
            wall_ms=now_ms,
        )
        self._offset = next_id, now_ms
        for one in new:
            if one.state is State.REFUSED:
                self._tell_of_stranger(one, now_ms)

    def _halt_without_ledger(self, commands: Sequence[Command]) -> None:
        """The file in the home halts without a database. The messenger gives the command again until it is written."""
        for one in commands:
            role, name = self._access.role(one), chat_commands.split(one.text)[0]
            if not one.is_button and name == "halt" and role is not None and role >= Role.TRADER:
                for account in effective.remembered_names(self._settings):
                    named = self._settings.model_copy(update={"account": account})
                    halt_file.write(named, reason="by chat", actor=one.actor, wall_ms=self._wall_ms())
                _log.warning("%s halts by the file in the home: the ledger cannot be written", one.actor)

    def _commands_in(self, update: dict[str, Any]) -> Iterator[Command]:
        """The command of an update; none where it is no person's own word to us."""
        try:
            button, message = update.get("callback_query"), update.get("message")
            said = button if button is not None else message
            if said is None:
                return
            who, where = said["from"], (said.get("message") or {}).get("chat") if button is not None else said["chat"]
            text = str(said.get("data" if button is not None else "text") or "").strip()[:_LONGEST_COMMAND]
            foreign = {"forward_origin", "forward_date", "via_bot", "sender_chat"} & said.keys()
            if not text or where is None or foreign or int(who["id"]) == _ANONYMOUS_ADMIN or who.get("is_bot"):
                return
            user_id, chat_id = int(who["id"]), int(where["id"])
            if button is None and not self._is_for_us(text, is_private=user_id == chat_id):
                return
            sent_ms = self._wall_ms() if button is not None else int(said["date"]) * 1000
            named = plain(who.get("username") or who.get("first_name") or "")[:32]
            yield Command(
                update_id=int(update["update_id"]),
                chat_id=chat_id,
                user_id=user_id,
                actor=f"telegram:{user_id}" + (f" ({named})" if named else ""),
                text=plain(text),
                is_button=button is not None,
                answers_to=str(said["id"] if button is not None else said["message_id"]),
                sent_wall_ms=sent_ms,
            )
        except (KeyError, TypeError, ValueError, AttributeError):
            _log.warning("an update of the Bot API cannot be read, it is passed over")

    def _is_for_us(self, text: str, *, is_private: bool) -> bool:
        if chat_commands.find(text, self._our_name or "") is None:
            return False
        return is_private or text.startswith("/")

    def _tell_of_stranger(self, command: Command, now_ms: int) -> None:
        """Tell the owner, once an hour for each stranger; the stranger hears nothing."""
        key = f"stranger:{command.user_id}:{hour_key(now_ms)}"
        text = f"{command.actor} in chat {command.chat_id} wrote: {_shown(command)[:100]}. Nothing was done or answered"
        self._tell(Message("a stranger commands the bot", text, Kind.COMMAND, Severity.WARNING, key=key))

    def _take_over(self) -> None:
        """What a dead process had begun is done again where that is harmless; else it is said that it was begun."""
        for command in chat.unfinished(self._database, self.name):
            if command.state is State.STARTED and not chat_commands.is_repeatable(
                command.text, is_button=command.is_button
            ):
                self._end(command, State.INTERRUPTED, Reply(INTERRUPTED, did=False))

    def _obey(self) -> None:
        """Do what was not done yet, in the order of its writing. What is slow is done beside, one at a time."""
        self._write_outcomes()
        for command in chat.unfinished(self._database, self.name):
            if self._ends.is_set():
                return
            if self._slow is not None and self._slow.is_alive():
                if command.state is State.STARTED:
                    continue  # this process does it now
                if chat_commands.is_slow(command.text, is_button=command.is_button):
                    continue
            if command.state is State.STARTED and not chat_commands.is_repeatable(
                command.text, is_button=command.is_button
            ):
                continue  # its outcome is written with the next round
            role = self._access.role(command)
            refusal = self._refusal(command, role)
            if refusal is not None or role is None:
                self._end(command, State.REFUSED, refusal or Reply("", did=False))
            elif chat_commands.is_slow(command.text, is_button=command.is_button):
                chat.start(self._database, self.name, command.update_id)
                self._slow = threading.Thread(
                    target=self._perform, args=(command, role), name="slow-command", daemon=False
                )
                self._slow.start()
            else:
                chat.start(self._database, self.name, command.update_id)
                self._perform(command, role)
                self._send_answers()

    def _refusal(self, command: Command, role: Role | None) -> Reply | None:
        """Why a command is not to be done now, as far as it is not its own matter."""
        if role is None:
            return Reply("", did=False)  # the settings have changed since it was written
        name = "" if command.is_button else (chat_commands.find(command.text, self._our_name or "") or ("",))[0]
        if name in ALWAYS:
            return None
        if command.state is State.RECEIVED and self._wall_ms() - command.sent_wall_ms > TOO_OLD_MS:
            return Reply("This came too late, and nothing was done. Send it again if it is still meant.", did=False)
        count = chat.count_since(self._database, self.name, command.user_id, command.received_wall_ms - MINUTE_MS)
        most = self._settings.telegram_per_minute
        if count > most:
            return Reply(f"More than {most} commands in a minute: nothing was done.", did=False)
        return None

    def _perform(self, command: Command, role: Role) -> None:
        operator = Operator(self._settings, self._database, self._tell, command.actor)
        try:
            reply = chat_commands.perform(operator, role, command.text, is_button=command.is_button)
        except Exception as error:  # noqa: BLE001 (whatever breaks, he who asked gets an answer)
            _log.exception("a command by chat failed")
            reply = Reply(f"It failed: {type(error).__name__}. Look at /status, and at the log.", did=False)
        _log.info("%s: %s: %s", command.actor, _shown(command), "done" if reply.did else "not done")
        try:
            self._end(command, State.DONE if reply.did else State.FAILED, reply)
        except StorageError as error:
            _log.warning("what became of a command by chat is written later: %s", error)

    def _end(self, command: Command, state: State, reply: Reply) -> None:
        self._outcomes[command.update_id] = command, state, reply
        self._write_outcomes()

    def _write_outcomes(self) -> None:
        """Write what became of commands. What cannot be written now is kept for the next round, and not done again."""
        for number, (command, state, reply) in list(self._outcomes.items()):
            chat.end(
                self._database,
                self.name,
                command.update_id,
                state,
                reply.as_dict(),
                self._wall_ms(),
                text=_shown(command),
            )
            self._outcomes.pop(number, None)

    def _send_answers(self) -> bool:
        """Send what was not answered yet; whether all of it is. What is not taken now is tried with the next round."""
        with self._answering:
            for command in chat.unanswered(self._database, self.name):
                is_late = self._wall_ms() - (command.ended_wall_ms or 0) > ANSWER_WITHIN_MS
                try:
                    if not is_late:
                        self._answer(command)
                except TelegramError as error:
                    _log.warning("an answer to %s was not taken: %s", command.actor, error)
                    if not error.is_final:
                        return False
                chat.answered(self._database, self.name, command, self._wall_ms())
        return True

    def _answer(self, command: Command) -> None:
        answer = command.answer or {}
        text = str(answer.get("text", ""))
        if command.is_button:
            self._release_button(command)
        if not text:
            return
        buttons = [{"text": word, "callback_data": data} for word, data in answer.get("buttons", [])]
        pieces = list(pieces_of(text))
        for number, piece in enumerate(pieces):
            given: dict[str, Any] = {"chat_id": command.chat_id, "text": escaped(piece), "parse_mode": "HTML"}
            if not command.is_button and number == 0:
                replied = {"message_id": int(command.answers_to), "allow_sending_without_reply": True}
                given["reply_parameters"] = replied
            if buttons and number == len(pieces) - 1:
                given["reply_markup"] = {"inline_keyboard": [buttons]}
            self._api.call("sendMessage", link_preview_options={"is_disabled": True}, **given)

    def _release_button(self, command: Command) -> None:
        """Let the button stop to spin. One that is too old for it is answered all the same."""
        try:
            self._api.call("answerCallbackQuery", callback_query_id=command.answers_to)
        except TelegramError as error:
            if not error.is_final:
                raise


def _shown(command: Command) -> str:
    return chat_commands.shown_text(command.text, is_button=command.is_button)


def pieces_of(text: str, longest: int = LONGEST_TEXT) -> Iterator[str]:
    """A text in pieces that the messenger takes, cut at ends of lines where that can be."""
    while len(text) > longest:
        cut = text.rfind("\n", 1, longest)
        cut = cut if cut > 0 else longest
        yield text[:cut]
        text = text[cut:].lstrip("\n")
    yield text


def _menu() -> list[dict[str, str]]:
    """The commands as the messenger's menu shows them."""
    return [
        {"command": one.name, "description": f"{one.argument} {one.what}".strip()}
        for one in chat_commands.COMMANDS.values()
    ]
