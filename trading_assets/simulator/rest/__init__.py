"""The HTTP answers, one module a family of endpoints. They read and format; decisions are in `account`."""
