"""Packaging entry point for tools that still look for it; every fact stands in pyproject.toml."""

from setuptools import setup

setup()
