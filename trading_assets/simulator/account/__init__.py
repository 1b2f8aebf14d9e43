"""The account of the embedded exchange: pure, in `Decimal`, moved by calls that carry the time. No HTTP."""
