"""A reviewer as a program: claims and decides over HTTP, and writes down what was acknowledged.

Imports the standard library alone, so that eight of them are at work within a second.
"""

import http.client
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier, Event

HOST = "127.0.0.1"
# Seconds until a reviewer whom nothing was given, or whom nobody answered, asks again.
PAUSE_S = 0.05


@dataclass
class Shift:
    """What one reviewer did: acknowledged decisions by their ids, and how long each took.

    `took_ms` is from sending a decision until the next item is known; `refused` were decisions on
    items whose claim had run out, and `unanswered` those that met no server.
    """

    reviewer: str
    decisions: dict[int, int] = field(default_factory=dict)
    took_ms: list[float] = field(default_factory=list)
    refused: int = 0
    unanswered: int = 0


class Desk:
    """One reviewer's connection to the API."""

    def __init__(self, port: int, key: str):
        self._port = port
        self._headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        self._connection: http.client.HTTPConnection | None = None

    def next_item(self) -> int | None:
        """The number of the next item; None where none waits."""
        status, said = self.post("/v1/items/claim", {"messages": 0})
        assert status in (200, 204), said
        return number_of(said)

    def decide(self, item_id: int) -> tuple[int, int | None] | None:
        """Decide, and be given the next item: both numbers, or None where that was refused."""
        words = {"perceived_error": True, "reason_code": "correction", "reason": "as they said"}
        status, said = self.post(f"/v1/items/{item_id}/decision", words | {"next": True})
        if status == 409:
            return None
        assert status == 200, said
        return int(str(said["decision_id"])), number_of(said["next"])

    def close(self) -> None:
        """Hang up."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def post(self, path: str, words: Mapping[str, object]) -> tuple[int, dict[str, object]]:
        """The status of the answer, and what it says; raises where there is no answer."""
        if self._connection is None:
            self._connection = http.client.HTTPConnection(HOST, self._port, timeout=60)
        try:
            self._connection.request("POST", path, json.dumps(words), self._headers)
            answer = self._connection.getresponse()
            return answer.status, json.loads(answer.read() or "{}")
        except (OSError, http.client.HTTPException, ValueError):
            self.close()
            raise


def number_of(claimed: object) -> int | None:
    """The number of an item that was claimed; None where none was."""
    return int(claimed["item"]["item_id"]) if isinstance(claimed, dict) and claimed else None


def review(
    port: int, reviewer: str, key: str, ready: Barrier, over: Event, shifts: "Queue[Shift]"
) -> None:
    """Decide on one item after the other, from when all are ready until it is over."""
    shift, desk, item_id = Shift(reviewer), Desk(port, key), None
    ready.wait()
    while not over.is_set():
        try:
            if item_id is None:
                item_id = desk.next_item()
            if item_id is None:
                time.sleep(PAUSE_S)
                continue
            begun = time.perf_counter()
            done = desk.decide(item_id)
            if done is None:
                shift.refused, item_id = shift.refused + 1, None
                continue
            shift.took_ms.append((time.perf_counter() - begun) * 1000)
            decision_id, following = done
            shift.decisions[decision_id] = item_id
            item_id = following
        except (OSError, http.client.HTTPException, ValueError):
            shift.unanswered, item_id = shift.unanswered + 1, None
            time.sleep(PAUSE_S)
    desk.close()
    shifts.put(shift)
