"""Arms of experiments that were given already, so that a session keeps its arm without the server.

Answers in, an `Arm` out, always. The one idea is that a session that met an arm meets no other:
what was once answered is remembered, and the first arm stands in for what never was.
"""

import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import replace

from flywheel.client.results import Arm, arm_of
from flywheel.client.wire import Answer

# Sessions whose arm is remembered; the longest unasked for is forgotten first.
MOST_REMEMBERED = 10_000


class Arms:
    """What the server said of arms, for the times at which it says nothing."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._given: OrderedDict[tuple[str, str], Arm] = OrderedDict()
        self._first: dict[str, Arm] = {}

    def learnt(
        self, experiment: str, whom: Mapping[str, object], answer: Answer, fallback: Arm
    ) -> Arm:
        """The arm of an answer; else the one given before, the first, or `fallback`."""
        arm, first, why = arm_of(answer)
        if arm is None:
            return self.without(experiment, whom, why, fallback)
        key = (experiment, _unit(whom))
        with self._lock:
            self._first[experiment] = first
            self._given[key] = arm
            self._given.move_to_end(key)
            if len(self._given) > MOST_REMEMBERED:
                self._given.popitem(last=False)
        return arm

    def without(self, experiment: str, whom: Mapping[str, object], why: str, fallback: Arm) -> Arm:
        """The arm where the server says nothing, and why it does not."""
        with self._lock:
            given = self._given.get((experiment, _unit(whom)))
            first = self._first.get(experiment, fallback)
        return replace(given or first, why=why)


def _unit(whom: Mapping[str, object]) -> str:
    """What the server gives an arm: a session, or a user where no session is named."""
    session = whom.get("session_id")
    return f"session:{session}" if session else f"user:{whom.get('user_id')}"
