"""The ops of the trading jobs."""
