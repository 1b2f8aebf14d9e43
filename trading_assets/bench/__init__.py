"""Measurements and long trials, `trading-assets bench ...`. Nothing else imports this package."""
