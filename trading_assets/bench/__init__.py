"""Measurements of the embedded exchange on this machine, one module each, behind `trading-assets bench`."""
