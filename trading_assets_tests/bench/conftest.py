"""The market and settings of the tests of jobs, for the measurement that runs one."""

from trading_assets_tests.defs.conftest import exchange, small  # noqa: F401 (fixtures)
