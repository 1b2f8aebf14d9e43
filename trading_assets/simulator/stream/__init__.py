"""`/v5/public/linear` and `/v5/private`: the exchange's WebSocket streams."""
