"""Measurements of the project's own speed. Nothing of the pipeline imports this package."""
