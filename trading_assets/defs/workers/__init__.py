"""Old place of the run launcher that a `dagster.yaml` may name."""
