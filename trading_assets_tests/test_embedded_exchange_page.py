"""docs/embedded_exchange.md: its clients connect as printed, its rules are rules, and it names every fault there is."""

import re
from pathlib import Path

import pytest
import yaml

from trading_assets.simulator.embedded import serve_in_thread
from trading_assets.simulator.faults.parsing import parse_rules
from trading_assets.simulator.faults.rules import FaultRule
from trading_assets.simulator.server import ENDPOINTS, ServeConfig

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "embedded_exchange.md").read_text()
ADDRESS = "127.0.0.1:8765"


@pytest.mark.parametrize("client", ["pybit", "ccxt"])
def test_a_client_connects_and_trades_as_printed(
    client: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip(client)
    found = re.search(rf"<!-- runs: {client} -->\n```python\n(.*?)```", PAGE, re.S)
    assert found is not None and ADDRESS in found[1]
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serve_in_thread(ServeConfig(symbols=3)) as exchange:
        exec(found[1].replace(f"http://{ADDRESS}", exchange.url), {})
        assert exchange.venue.engine.state.position("BTCUSDT").size > 0
    *_, price = capsys.readouterr().out.split()
    assert float(price) > 0


def test_its_rules_are_rules() -> None:
    (block,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.S)
    assert len(parse_rules(yaml.safe_load(block), ENDPOINTS)) == 14
    posted = re.findall(r"/admin/faults -d '(.*?)'", PAGE)
    assert len(posted) == 1 and parse_rules(yaml.safe_load(posted[0]), ENDPOINTS)[0].lost_answer


def test_it_names_every_field_of_a_rule() -> None:
    assert {name for name in FaultRule.model_fields if f"`{name}`" not in PAGE} == {"processed"}
    assert "processed: true" in PAGE
