"""A rest for a server that fails, so that the application does not wait for it again and again.

Answers in, whether to ask now out.
"""

import time

from flywheel.client.wire import Answer

# After so many failures in a row the server is not asked for examples for a while, in seconds.
FAILURES, REST_S = 3, 10.0


class Shield:
    """Keeps an application from waiting for a server that fails, request after request."""

    def __init__(self) -> None:
        self._n_failures = 0
        self._until = 0.0

    def why_not(self) -> str:
        """Why the server is not asked now; empty where it is."""
        left = self._until - time.monotonic()
        return f"the server failed, and is asked again in {left:.0f} s" if left > 0 else ""

    def is_hit(self, answer: Answer) -> bool:
        """Take note of an answer; whether it is a failure of the server."""
        if answer.is_taken or not answer.is_for_later:
            self._n_failures = 0
            return False
        self._n_failures += 1
        rest_s = REST_S if self._n_failures >= FAILURES else 0.0
        self._until = time.monotonic() + max(rest_s, answer.retry_after_s or 0.0)
        return True
