"""Tests that run code in the sandbox take the fixture `sandbox`.

Without bubblewrap they are skipped, visibly; in CI that is a failure.
"""

import os
import shutil

import pytest


@pytest.fixture
def sandbox() -> None:
    """That there is a sandbox."""
    if shutil.which("bwrap") is None:
        why = "no bubblewrap: `apt-get install bubblewrap`"
        if os.environ.get("CI") == "true":
            pytest.fail(why)
        pytest.skip(why)
