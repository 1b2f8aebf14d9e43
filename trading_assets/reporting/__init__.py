"""Reports: what the selections would have traded, what was really traded, and the page that shows it. No Dagster.

`forward_test` finds the trades of selections, `portfolio_simulation` lets an account take them, `figures` counts, `page` draws;
`walk_forward` and `performance` put a report together. Nothing here trades or changes a table.
"""
