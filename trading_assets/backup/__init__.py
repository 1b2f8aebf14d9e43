"""A home in one file and back: ledger, candles, the embedded exchange's account, settings without secrets."""
