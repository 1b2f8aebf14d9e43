"""`/v5/public/linear`, `/v5/private` and `/v5/trade`: the exchange's WebSocket streams."""
