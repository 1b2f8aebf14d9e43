"""The live page: what the ledger holds now, sent to browsers as it changes. It computes nothing that others compute."""
