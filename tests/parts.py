"""Parts that tests need and a machine may lack: told in one line here, a failure in CI."""

import os

import pytest


def need(present: object, remedy: str) -> None:
    """Go on if the part is there; else skip saying what is missing and how to get it."""
    if present:
        return
    if os.environ.get("CI"):
        pytest.fail(f"CI lacks a part: {remedy}", pytrace=False)
    pytest.skip(remedy)
