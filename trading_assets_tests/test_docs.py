"""Every page for readers: its links lead somewhere, what it names exists, and it can be reached from the index."""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import click
import pytest

from trading_assets.cli.main import cli
from trading_assets.core.settings import load_settings
from trading_assets.reference.settings_page import setting_rows

ROOT = Path(__file__).resolve().parents[1]
INDEX = ROOT / "docs" / "README.md"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
LINKED = [*PAGES, ROOT / "CHANGELOG.md"]

_FENCE = re.compile(r"^(`{3,}|~{3,}).*?^\1\s*$", re.S | re.M)
_CODE = re.compile(r"`[^`\n]*`")
_LINK = re.compile(r"\[(?:[^\]\[]|\[[^\]]*\])*\]\(([^)\s]+)\)")


def _prose(page: Path) -> str:
    """The text without its code."""
    return _FENCE.sub("", page.read_text())


def _links(page: Path) -> list[str]:
    """Targets of the page's links and pictures, those on the web left out."""
    targets = _LINK.findall(_CODE.sub("code", _prose(page)))
    return [target for target in targets if not re.match(r"[a-z]+:", target)]


@cache
def _anchors(page: Path) -> frozenset[str]:
    """The anchors that GitHub gives the page's headings."""
    found: list[str] = []
    for heading in re.findall(r"^#{1,6} +(.+?) *#*$", _prose(page), re.M):
        shown = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", shown.lower()).replace(" ", "-")
        found.append(f"{slug}-{found.count(slug)}" if slug in found else slug)
    return frozenset(found)


def _broken(page: Path) -> Iterator[str]:
    for target in _links(page):
        path, _, anchor = target.partition("#")
        to = (page.parent / path).resolve() if path else page
        if not to.exists():
            yield f"{target}: no such file"
        elif not to.is_relative_to(ROOT):
            yield f"{target}: outside the project"
        elif anchor and to.suffix == ".md" and anchor not in _anchors(to):
            yield f"{target}: no such heading"


@pytest.mark.parametrize("page", LINKED, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files_and_headings_that_exist(page: Path) -> None:
    assert list(_broken(page)) == []


BESIDE_SETTINGS = {"BROKER_URL", "CONFIG", "NAME"}
"""The broker's URL is read by `dagster.yaml` and the Celery app, CONFIG names the file; NAME stands for any setting."""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_setting_that_is_named_exists(page: Path) -> None:
    known = {row.name.upper() for row in setting_rows()} | BESIDE_SETTINGS
    assert set(re.findall(r"TRADING_ASSETS_([A-Z0-9_]*[A-Z0-9])", page.read_text())) - known == set()


def _unknown_commands(text: str) -> Iterator[str]:
    for words in re.findall(r"trading-assets((?: [a-z][a-z-]*)+)", text):
        at: click.Command = cli
        for word in words.split():
            if not isinstance(at, click.Group):
                break
            if word not in at.commands:
                yield f"trading-assets{words}"
                break
            at = at.commands[word]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_and_make_target_in_code_exists(page: Path) -> None:
    code = "\n".join([*_CODE.findall(page.read_text()), *(m.group(0) for m in _FENCE.finditer(page.read_text()))])
    assert list(_unknown_commands(code)) == []
    targets = set(re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), re.M))
    assert set(re.findall(r"^`?make ([a-z-]+)", code, re.M)) <= targets


MODULES_OF_THE_READER = ("trading_assets.defs.checks.breadth", "trading_assets.venues.toy")

WRITTEN_BY_THE_READER = {
    *("breakout.py", "trading_assets/strategies/breakout.py", "trading_assets/strategies/donchian_breakout.py"),
    *("trading_assets/defs/checks/breadth.py", "exchange/NAME.py", "r0008_name.py"),
    *("trading_assets/venues/toy/__init__.py", "trading_assets/venues/toy/connector.py"),
}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_file_and_module_that_is_named_exists(page: Path) -> None:
    text = page.read_text()
    roots = (ROOT, ROOT / "trading_assets", ROOT / "trading_assets_tests", *(ROOT / "trading_assets").iterdir())
    files = set(re.findall(r"`(\w+(?:/\w+)*(?:/|\.py))`", text)) - WRITTEN_BY_THE_READER
    assert sorted(name for name in files if not any((root / name).exists() for root in roots)) == []
    modules = set(re.findall(r"\btrading_assets(?:\.[a-z_]+)+", text)) - {"trading_assets.db"}
    missing = []
    for module in modules:
        path = ROOT / module.replace(".", "/")
        # The last name may be one inside the module.
        found = any(one.exists() for one in (path, path.with_suffix(".py"), path.parent.with_suffix(".py")))
        if not found and not module.startswith(MODULES_OF_THE_READER):
            missing.append(module)
    assert missing == []


def test_the_index_links_every_page() -> None:
    linked = {(INDEX.parent / target.partition("#")[0]).resolve() for target in _links(INDEX)}
    assert [page.name for page in LINKED if page not in linked | {INDEX}] == []
    assert "docs/README.md" in _links(ROOT / "README.md")


SOURCES = [
    path
    for package in ("market", "strategies", "reporting", "reference")
    for path in (ROOT / "trading_assets" / package).rglob("*.py")
]
_CITATION = re.compile(r"\[[A-E](?:, [^\]\n]*)?\]|\bspec(?:ification)? sections? \d")


def test_every_other_reading_of_choices_is_a_setting_that_takes_the_value() -> None:
    page = (ROOT / "docs" / "choices.md").read_text()
    given = re.findall(r"`([A-Z][A-Z_0-9]+)=(\w+)`", page)
    assert len(given) >= 8
    for name, value in given:
        load_settings(**{name.lower(): value})
    named = set(re.findall(r"`([A-Z][A-Z_0-9]+)(?:=\w+)?`", page)) - {"NAME", "TRADING_ASSETS_NAME"}
    assert named - {row.name.upper() for row in setting_rows()} == set()


def test_no_page_and_no_comment_cites_a_document_by_letter_or_section() -> None:
    """What such a citation means is said in words; docs/choices.md names the documents."""
    cited = {path.name: _CITATION.findall(path.read_text()) for path in [*LINKED, *SOURCES]}
    assert {name: found for name, found in cited.items() if found} == {}
    assert _CITATION.findall("strict [A], volume [B, section 5] (spec section 4)") == [
        "[A]",
        "[B, section 5]",
        "spec section 4",
    ]


def test_every_picture_is_shown_somewhere() -> None:
    shown = {(page.parent / target).resolve() for page in PAGES for target in _links(page)}
    assert [path.name for path in sorted((ROOT / "docs" / "images").iterdir()) if path not in shown] == []


def test_a_broken_link_and_a_missing_heading_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trading_assets_tests.test_docs.ROOT", tmp_path)
    page = tmp_path / "page.md"
    page.write_text(
        "# A `title`, and more\n\n[there](#a-title-and-more) [code](page.md) `[not](a-link.md)` [gone](gone.md)\n"
        "[![picture](gone.png)](page.md#nowhere) [web](https://example.com/gone)\n\n```\n# no heading\n[x](y)\n```\n"
    )
    assert list(_broken(page)) == [
        "gone.md: no such file",
        "page.md#nowhere: no such heading",
    ]
