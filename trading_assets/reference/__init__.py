"""Reference pages made from the code: settings, tables, commands, metrics, and what Dagster is given.

Here is how they are read from the code and written as Markdown; what they say stands beside what it describes. The page
about Dagster is made in `trading_assets.reference.dagster_page`.
"""
