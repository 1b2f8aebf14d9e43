"""docs/reference/research.md: what `trading_assets.research` offers, from its docstrings and signatures."""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Iterator
from typing import Any

from trading_assets import research
from trading_assets.reference import markdown

_SECTION = re.compile(r"^(Args|Attributes|Returns|Raises|Example):$", re.M)
_ENTRY = re.compile(r"^(\w[\w, *]*?): ", re.M)

_ELSEWHERE = ("Strategy", "Parameters", "Entries")
"""Offered here for notebooks' sake; described with strategies."""

_GROUPS = (
    ("Where candles come from", ("open_home", "open_files", "from_frames", "seeded", "with_settings")),
    ("Data", ("candles", "funding", "signals")),
    ("One backtest", ("backtest", "Backtest")),
    ("Many parameter sets", ("sweep", "Sweep", "search", "Search")),
    ("After the selection", ("forward_test", "ForwardTest", "walk_forward", "WalkForward")),
    ("What a home decided", ("selections", "backtest_of_selection", "chart")),
    ("Side by side", ("compare", "Comparison")),
    ("What a strategy raised", ("StrategyFailedError", "StrategyFailure")),
    ("Sources", ("Source", "Home", "Market")),
)


def build() -> str:
    """The page.

    Raises:
        ValueError: something that is offered stands in no group.
    """
    grouped = {name for _, names in _GROUPS for name in names} | set(_ELSEWHERE)
    if grouped != set(research.__all__):
        raise ValueError(f"research offers and the page groups different names: {grouped ^ set(research.__all__)}")
    introduction = (
        f"{markdown.paragraphs(research.__doc__ or '')}\n\n"
        f"`{'`, `'.join(_ELSEWHERE)}` are those of [add a strategy](../howto/add_strategy.md). How to use all this: "
        "[research](../howto/research.md)."
    )
    parts = []
    for title, names in _GROUPS:
        parts.append(f"## {title}")
        parts += [_described(name, getattr(research, name)) for name in names]
    return markdown.page("Research", "the docstrings of trading_assets.research", introduction, parts)


def _described(name: str, thing: Any) -> str:
    if not inspect.isclass(thing):
        return f"### {name}\n\n{_signature(name, thing)}\n\n{_text(thing)}"
    parts = [f"### {name}", _text(thing)]
    for member, found in _members(thing):
        function = found.fget if isinstance(found, property) else getattr(found, "func", found)
        is_value = function is not found
        head = f"`.{member}`" if is_value else _signature(f".{member}", function)
        parts.append(f"{head}\n\n{_text(function)}")
    return "\n\n".join(parts)


def _members(kind: type) -> Iterator[tuple[str, Any]]:
    """Documented methods and properties of its own, in the order of the source."""
    for name, found in vars(kind).items():
        function = found.fget if isinstance(found, property) else getattr(found, "func", found)
        if not name.startswith("_") and callable(function) and inspect.getdoc(function) and not inspect.isclass(found):
            yield name, found


def _signature(name: str, function: Any) -> str:
    found = inspect.signature(function)
    kept = [one for one in found.parameters.values() if one.name != "self"]
    shown = str(found.replace(parameters=kept)).replace("'", "")
    one_line = f"{name}{shown}"
    if len(one_line) > 100:
        inner, _, answer = shown[1:].rpartition(")")
        arguments = re.split(r", (?![^\[]*\])", inner)
        one_line = f"{name}(\n" + "".join(f"    {one},\n" for one in arguments) + f"){answer}"
    return f"```python\n{one_line}\n```"


def _text(thing: Any) -> str:
    """A docstring as Markdown: arguments and attributes as lists, the example as code."""
    text = inspect.getdoc(thing) or ""
    pieces = _SECTION.split(text)
    parts = [markdown.paragraphs(pieces[0])]
    for title, body in zip(pieces[1::2], pieces[2::2], strict=True):
        inner = textwrap.dedent(body).strip("\n")
        if title == "Example":
            parts.append(inner.strip())
        elif title == "Returns":
            parts.append(f"Returns: {markdown.paragraphs(inner)}")
        else:
            parts.append(f"{title}:\n\n{_entries(inner)}")
    return "\n\n".join(part for part in parts if part)


def _entries(text: str) -> str:
    lines: list[str] = []
    for line in text.splitlines():
        if line and not line.startswith(" ") and _ENTRY.match(line):
            lines.append(_ENTRY.sub(lambda found: f"- `{found[1]}`: ", line, count=1))
        elif lines:
            lines[-1] += f" {line.strip()}"
        else:
            lines.append(line.strip())
    return "\n".join(line.rstrip() for line in lines)
