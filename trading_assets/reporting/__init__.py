"""Reports: what the selections would have traded, what was really traded, and the page that shows it. No Dagster.

`forward_test` finds the trades of selections, `portfolio_simulation` lets an account take them, `figures` counts,
`answers` says what follows from them, `page` and `charts` draw; `walk_forward` and `performance` make a report of it.
Nothing here trades or writes a table.
"""
