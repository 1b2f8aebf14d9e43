"""docs/reference/commands.md: the tree of `trading-assets` commands from Click."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import click

from trading_assets.reference import markdown

_INTRODUCTION = """
`trading-assets` is in the environment that `make setup` makes: `source .venv/bin/activate`, or
`.venv/bin/trading-assets`. Every command knows `--help`. Exit codes: 0 done; 1 done, and what was looked for is not
well; 2 a setting, an argument or a service is wrong, told in one line; 130 stopped by Ctrl-C. Settings are
environment variables, see [settings.md](settings.md).
"""


def build(root: click.Group) -> str:
    """The page of a tree of commands."""
    commands = list(_walk(root, "trading-assets"))
    overview = markdown.table(
        ["command", "what it does"],
        [(f"[`{path}`](#{path.replace(' ', '-')})", _summary(command)) for path, command in commands],
    )
    parts = [overview, *(_part(path, command) for path, command in commands)]
    return markdown.page("Commands", "the commands themselves", _INTRODUCTION, parts)


def _walk(group: click.Group, path: str) -> Iterator[tuple[str, click.Command]]:
    """Every command that is no group, with its path."""
    for name, command in sorted(group.commands.items()):
        if isinstance(command, click.Group):
            yield from _walk(command, f"{path} {name}")
        else:
            yield f"{path} {name}", command


def _summary(command: click.Command) -> str:
    return markdown.paragraphs(inspect.cleandoc(command.help or "")).split("\n\n")[0]


def _part(path: str, command: click.Command) -> str:
    arguments = [parameter for parameter in command.params if isinstance(parameter, click.Argument)]
    options = [parameter for parameter in command.params if isinstance(parameter, click.Option)]
    usage = " ".join([path, *(["[OPTIONS]"] if options else []), *map(_written, arguments)])
    parts = [f"## {path}", f"```\n{usage}\n```", markdown.paragraphs(inspect.cleandoc(command.help or ""))]
    if options:
        rows = [(_names(option), _values(option), _default(option), _meaning(option)) for option in options]
        parts.append(markdown.table(["option", "values", "default", "meaning"], rows))
    return "\n\n".join(parts)


def _written(argument: click.Argument) -> str:
    name = (argument.name or "").upper() + ("..." if argument.nargs == -1 else "")
    return name if argument.required else f"[{name}]"


def _names(option: click.Option) -> str:
    return ", ".join(map(markdown.literal, [*option.opts, *option.secondary_opts]))


def _values(option: click.Option) -> str:
    """The values that the option takes, in words."""
    if option.is_flag:
        return ""
    kind = option.type
    several = ", may be repeated" if option.multiple else ""
    if isinstance(kind, click.IntRange | click.FloatRange):
        whole = "whole number" if isinstance(kind, click.IntRange) else "number"
        return f"{whole}{_range(kind)}{several}"
    names = {"integer": "whole number", "float": "number", "path": "path", "datetime": "time", "decimal": "number"}
    return names.get(kind.name.lower(), "text") + several


def _range(kind: click.IntRange | click.FloatRange) -> str:
    if kind.min is not None and kind.max is not None:
        return f", {kind.min} to {kind.max}"
    if kind.min is not None:
        return f", {'above' if kind.min_open else 'at least'} {kind.min}"
    return "" if kind.max is None else f", at most {kind.max}"


def _default(option: click.Option) -> str:
    """The value without the option. An option without a default value of its own names it in its help, in brackets."""
    if option.is_flag and option.secondary_opts:
        return markdown.literal(option.opts[0] if option.default else option.secondary_opts[0])
    if option.show_default and isinstance(option.default, str | int | float):
        return markdown.literal(str(option.default))
    _, bracket, told = (option.help or "").partition("[default: ")
    return told.removesuffix("]") if bracket else ""


def _meaning(option: click.Option) -> str:
    return (option.help or "").partition("[default: ")[0].strip()
