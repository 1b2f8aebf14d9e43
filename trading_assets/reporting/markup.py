"""What all pages of reports share: the document with its policy, sections, tables, figures as text, and the style."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

NONE = "–"
"""Stands for a figure that there is not."""


def document(title: str, body: str, policy: str, style: str = "") -> str:
    """A page with a content security policy; `title` is text, `body` and `style` are markup."""
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}{style}</style></head>\n"
        f"<body><main>\n{body}\n</main></body></html>\n"
    )


def section(title: str, *parts: str) -> str:
    """A part of a page; `title` is text, `parts` are markup."""
    return f"<section><h2>{escape(title)}</h2>\n{''.join(parts)}</section>"


def bullets(title: str, lines: Sequence[str]) -> str:
    """A part of a page with a list; nothing without lines."""
    if not lines:
        return ""
    return section(title, "<ul>" + "".join(f"<li>{escape(line)}</li>" for line in lines) + "</ul>")


_TEXTS = frozenset({"entry", "exit", "coin", "side", "strategy", "timeframe", "symbol", "end", "tf", "value", "state"})
"""Headings of columns that hold words; all others hold numbers."""

_TONED = frozenset({"return", "PnL", "R", "bp"})
"""Headings of columns in which a gain is green and a loss red."""


def table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of texts, which scrolls where the page is narrow."""
    if not rows:
        return "<p>none</p>"
    kinds = ["text" if name in _TEXTS else "toned" if name in _TONED else "" for name in heading]
    head = "".join(f'<th class="{kind}">{escape(name)}</th>' for name, kind in zip(heading, kinds, strict=True))
    lines = "".join("<tr>" + "".join(map(_cell, row, kinds)) + "</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table></div>'


def _cell(value: str, kind: str) -> str:
    if kind == "toned":
        kind = "loss" if value.startswith("-") else "gain" if value != NONE else ""
    return f'<td class="{kind}">{escape(value)}</td>' if kind else f"<td>{escape(value)}</td>"


def money(value: float) -> str:
    """USD, without cents from 10,000 on."""
    sign = "-" if value <= -0.005 else ""
    return f"{sign}${abs(value):,.2f}" if abs(value) < 10_000 else f"{sign}${abs(value):,.0f}"


def signed(value: float, unit: str) -> str:
    """With its sign and two places."""
    return f"{value:+.2f} {unit}"


def number(value: float, form: str, unit: str = "") -> str:
    """As `form` says; NaN is `NONE`."""
    return NONE if math.isnan(value) else f"{value:{form}}{unit}"


def with_error(value: float, error: float) -> str:
    """A figure and its standard error."""
    return NONE if math.isnan(value) else f"{value:.2f} ± {error:.1f}"


def tone(value: float) -> str:
    """The class of a gain or a loss."""
    return "gain" if value > 0 else "loss" if value < 0 else ""


STYLE = """
:root { --ink: #1f2937; --soft: #6b7280; --line: #e5e7eb; --gain: #0f9d6b; --loss: #d64545; }
* { box-sizing: border-box; }
body { margin: 0; background: #f3f4f6; color: var(--ink); font: 14px/1.5 Inter, system-ui, "Segoe UI", sans-serif; }
main { max-width: 1180px; margin: 0 auto; padding: 28px 20px 60px; }
header h1 { margin: 0; font-size: 30px; letter-spacing: -0.02em; }
.span { margin: 2px 0 10px; color: var(--soft); font-size: 15px; }
.facts { display: flex; flex-wrap: wrap; gap: 4px 22px; margin: 0 0 18px; color: var(--soft); }
.facts b { color: var(--ink); }
.cards { display: grid; grid-template-columns: repeat(7, 1fr); gap: 10px; }
.card { background: white; border: 1px solid var(--line); border-radius: 10px; padding: 10px 12px; }
.card .name { color: var(--soft); font-size: 12px; white-space: nowrap; overflow: hidden; text-overflow: ellipsis; }
.card .value { font-size: 19px; font-weight: 650; font-variant-numeric: tabular-nums; white-space: nowrap; }
section { background: white; border: 1px solid var(--line); border-radius: 12px; padding: 14px 18px 16px; }
section { margin-top: 16px; }
h2 { margin: 0 0 8px; font-size: 16px; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: 13px; }
th { text-align: right; color: var(--soft); font-weight: 550; padding: 4px 8px; border-bottom: 1px solid var(--line); }
td { text-align: right; padding: 4px 8px; border-bottom: 1px solid #f3f4f6; white-space: nowrap; }
th:first-child, td:first-child, .text { text-align: left; }
.gain { color: var(--gain); }
.loss { color: var(--loss); }
.pair { display: grid; grid-template-columns: 2fr 3fr; gap: 18px; align-items: start; }
.pair > div { min-width: 0; }
.tall { max-height: 560px; overflow: auto; }
.tall th { position: sticky; top: 0; background: white; }
.wide { overflow-x: auto; }
.days { font-size: 9.5px; letter-spacing: -0.03em; table-layout: fixed; min-width: 1080px; }
.days th:first-child, .days th:last-child { width: 56px; }
.headline { margin: 0 0 16px; font-size: 16px; }
.days th { white-space: nowrap; }
.days th, .days td { padding: 3px 2px; text-align: center; border: 1px solid white; }
.answers { display: grid; grid-template-columns: repeat(3, 1fr); gap: 12px; margin: 14px 0 18px; }
.answer { background: white; border: 1px solid var(--line); border-top: 4px solid #b7a26a; border-radius: 10px; }
.answer { padding: 10px 14px 12px; min-width: 0; }
.answer.good { border-top-color: var(--gain); }
.answer.bad { border-top-color: var(--loss); }
.answer h2 { display: flex; flex-wrap: wrap; justify-content: space-between; gap: 2px 10px; }
.answer h2 { margin: 0; font-size: 14px; }
.answer .verdict { color: #7a6320; font-weight: 650; }
.answer.good .verdict { color: var(--gain); }
.answer.bad .verdict { color: var(--loss); }
.answer .number { font-size: 25px; font-weight: 680; letter-spacing: -0.01em; font-variant-numeric: tabular-nums; }
.answer .interval { font-variant-numeric: tabular-nums; margin-bottom: 6px; }
.answer p { margin: 3px 0 0; color: var(--soft); font-size: 12.5px; line-height: 1.4; overflow-wrap: anywhere; }
.note { margin: 0 0 8px; color: var(--soft); font-size: 13px; }
ul { margin: 0; padding-left: 20px; }
li { margin: 3px 0; }
@media (max-width: 900px) { .cards { grid-template-columns: repeat(3, 1fr); } .pair { grid-template-columns: 1fr; }
  .answers { grid-template-columns: 1fr 1fr; } }
@media (max-width: 620px) { main { padding: 16px 10px 40px; } section { padding: 12px 10px; }
  .cards { grid-template-columns: 1fr 1fr; } .answers { grid-template-columns: 1fr; }
  th { white-space: nowrap; } td:first-child { white-space: normal; min-width: 84px; } }
"""
