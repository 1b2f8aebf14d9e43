"""Named accounts, their keys, and settings and flags that change while the system runs."""
