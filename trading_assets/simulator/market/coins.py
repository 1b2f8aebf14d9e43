"""The names, price levels and special cases of the seeded market's coins: data only."""

from __future__ import annotations

COINS = (
    "BTC:82000 ETH:2900 SOL:150 XRP:2.1 DOGE:0.17 BNB:640 ADA:0.68 SUI:2.9 LINK:14.5 AVAX:21 1000PEPE:0.0105 LTC:88 "
    "TRX:0.27 ENA:0.42 PAXG:3300 DOT:4.3 NEAR:2.6 APT:5.2 ARB:0.36 OP:0.72 UNI:6.4 AAVE:195 HYPE:27 WLD:1.05 TAO:360 "
    "XAUT:3290 ONDO:0.86 FIL:2.7 BCH:390 ETC:17.2 TON:3.1 WIF:0.74 1000BONK:0.0181 HBAR:0.18 XLM:0.27 INJ:10.8 "
    "SEI:0.21 TIA:2.4 JUP:0.46 FARTCOIN:1.02 CRV:0.63 LDO:0.84 ATOM:4.4 ICP:5.1 RENDER:3.9 FET:0.71 ORDI:8.2 "
    "PENDLE:3.6 STX:0.73 GALA:0.0158 BNT:0.66 1000FLOKI:0.083 SAND:0.27 DYDX:0.58 ALGO:0.21 ZEC:41 VET:0.0243 "
    "KAS:0.081 PYTH:0.132 JTO:1.95 ZRO:2.3 STRK:0.137 IMX:0.54 UMA:1.21 EIGEN:1.18 ETHFI:0.97 GRT:0.094 RUNE:1.42 "
    "MANA:0.29 AXS:2.45 SNX:0.69 COMP:44 BAND:0.73 CHZ:0.041 APE:0.63 ENS:19.4 LEO:9.1 MINA:0.19 XTZ:0.61 SKL:0.0226 "
    "XMR:310 DASH:21.5 EGLD:15.2 NEO:6.1 KSM:15.8 THETA:0.77 CFX:0.078 BLUR:0.093 GMX:14.1 TRB:52 YFI:5200 SUSHI:0.68 "
    "ROSE:0.028 ZIL:0.0118 QTUM:2.1 LRC:0.093 BAT:0.14 ANKR:0.0172 CELO:0.31 IOTA:0.18 JASMY:0.0145 MASK:1.24 "
    "STORJ:0.26 FLOW:0.37 KAVA:0.42 WOO:0.073 ARKM:0.52 API3:0.79 BIGTIME:0.058 MOVE:0.14 VIRTUAL:1.35 AIXBT:0.16 "
    "PNUT:0.25 MOODENG:0.17 GOAT:0.105 POPCAT:0.31 NOT:0.0021 ZK:0.052 ALT:0.028 DYM:0.25 MANTA:0.21 PIXEL:0.033"
)
"""Base coins with the level of their price in USD, the busiest first."""

CALM = frozenset({"TRX", "PAXG", "XAUT", "LEO"})
"""They move less than 2 % a day."""

QUIET = frozenset({"BNT", "UMA", "BAND", "SKL", "LRC", "BAT", "STORJ", "KAVA"})
"""Less than a million USD is traded in them a day."""

LISTED = {
    "BTC": "2020-03-30",
    "ETH": "2020-10-21",
    "SOL": "2021-06-29",
    "XRP": "2021-05-13",
    "HYPE": "2024-12-05",
    "FARTCOIN": "2024-12-18",
    "MOVE": "2024-12-09",
    "ENA": "2025-10-14",
    "EIGEN": "2026-01-20",
    "PENDLE": "2026-02-25",
    "ZRO": "2026-06-01",
}
"""Days of listing that matter; the others are drawn."""

STABLE = ("USDC", "DAI", "FDUSD", "USDE", "PYUSD")
USDC_SETTLED = ("BTC", "ETH", "SOL")
DATED = (
    ("BTC", "26MAR27", "2025-12-19", "2027-03-26"),
    ("BTC", "25JUN27", "2026-01-16", "2027-06-25"),
    ("ETH", "26MAR27", "2025-12-19", "2027-03-26"),
)
"""Base coin, code, day of listing, day of delivery (08:00 UTC)."""

ONSETS = "B D F G H J K L M N P R S T V W Z BR CH CR DR FL GL KR PL SH SK ST TR VR"
VOWELS = "A E I O U A E I O Y"
TAILS = ("", "", "", "N", "R", "X", "L", "S", "T", "M", "K")
"""Sounds that the names of further coins are made of."""
