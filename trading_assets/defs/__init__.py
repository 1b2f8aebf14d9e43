"""The Dagster wing: everything that imports dagster. Thin: window -> resource -> pure function -> table."""

import warnings

import dagster as dg

# The lock file pins the version of Dagster, so a later change of a beta parameter cannot come as a surprise.
warnings.filterwarnings("ignore", category=dg.BetaWarning)
