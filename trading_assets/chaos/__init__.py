"""Trials in which processes are killed and the exchange fails, on the embedded exchange alone. No trading code here."""
