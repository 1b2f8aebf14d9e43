"""The embedded exchange: Bybit v5 (category linear) on loopback, with a market of its own and one account."""
