"""The Dagster wing: everything that imports dagster. Thin: window -> resource -> pure function -> table."""
