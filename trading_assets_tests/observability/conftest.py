"""A scene of an account that trades, as the tests of the account in the wild have it."""

from trading_assets_tests.wild_account.conftest import make_scene, scene

__all__ = ["make_scene", "scene"]
