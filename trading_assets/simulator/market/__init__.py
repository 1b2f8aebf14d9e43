"""The markets of the embedded exchange: prices as functions of time, without accounts."""
