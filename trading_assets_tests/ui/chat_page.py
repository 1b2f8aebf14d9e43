"""Our own page of a conversation with the bot, for the picture of docs/chat.md."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template

_TEMPLATE = Path(__file__).with_name("chat.html")


@dataclass(frozen=True)
class ChatMessage:
    """What one of the two has said.

    Attributes:
        has_title: the first line of `text` is a title, as in a message that nobody has asked for.
    """

    text: str
    by_bot: bool = True
    buttons: tuple[str, ...] = ()
    has_title: bool = False


def page_of(columns: Mapping[str, Sequence[ChatMessage]]) -> str:
    """The page: conversations beside each other, by their headings."""
    return Template(_TEMPLATE.read_text()).substitute(
        columns="\n".join(
            f"<section><h2>{html.escape(heading)}</h2><ol>{''.join(map(_bubble, said))}</ol></section>"
            for heading, said in columns.items()
        )
    )


def _bubble(one: ChatMessage) -> str:
    title, _, body = one.text.partition("\n") if one.has_title else ("", "", one.text)
    shown = (f"<b>{html.escape(title)}</b>" if title else "") + html.escape(body)
    buttons = "".join(f"<span>{html.escape(word)}</span>" for word in one.buttons)
    return f'<li class="{"bot" if one.by_bot else "you"}">{shown}{f"<p>{buttons}</p>" if buttons else ""}</li>'
