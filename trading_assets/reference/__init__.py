"""Reference pages made from the code: settings, tables, commands, metrics, and what Dagster is given.

Only reading the code and writing Markdown is here. The texts are where the things are that they describe. One module
imports Dagster: `dagster_page`.
"""
