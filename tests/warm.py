"""What a forked process of the product has loaded before it starts; imported by its fork server.

A command of the product is then up in milliseconds, and can be killed a thousand times an hour.
"""

import flywheel.cli.main
import flywheel.loop
from flywheel.models.embedder import load_embedder
from flywheel.settings import Settings
from flywheel.web.__main__ import serve

__all__ = ["flywheel", "serve"]
load_embedder(Settings().judge.embedder, 1).encode(["warm"])
