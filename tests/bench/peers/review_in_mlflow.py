"""Reviewers at MLflow's review queues, by its HTTP API as its page calls it.

A reviewer takes the first open item of the list, writes an assessment on the trace and marks the
item complete. There is no claim: a shared queue is a pool, in which the first who finishes counts.
"""

import http.client
import json
import multiprocessing
import time
from collections import Counter
from collections.abc import Sequence
from multiprocessing.queues import Queue
from urllib.parse import urlencode, urlsplit

N_REVIEWERS = 5
API = "/api/3.0/mlflow"
Figures = dict[str, object]


def review_in_mlflow(base: str, n: int, seconds: float) -> Figures:
    """Items a second and items that two reviewers did: a shared queue, and queues of their own."""
    desk = Desk(base)
    where = {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": "0"}}
    body = {"locations": [where], "max_results": min(n, 500)}
    traces, token = [], ""
    while len(traces) < n:
        said = desk.call("POST", "/traces/search", body | ({"page_token": token} if token else {}))
        traces += [one["trace_id"] for one in said["traces"]]
        if not (token := said.get("next_page_token", "")):
            break
    names = [f"reviewer-{i}" for i in range(N_REVIEWERS)]
    shared = new_queue(desk, "shared", traces, names)
    figures = _shift(base, [shared] * N_REVIEWERS, names, seconds)
    # The server has closed what nothing was asked on meanwhile.
    desk = Desk(base)
    own = [new_queue(desk, f"own-{i}", traces[i::N_REVIEWERS], [names[i]]) for i in range(5)]
    apart = _shift(base, own, names, seconds)
    return figures | {f"apart_{key}": value for key, value in apart.items()}


def new_queue(desk: "Desk", name: str, traces: Sequence[str], users: Sequence[str]) -> str:
    """A custom queue of these traces; its id."""
    made = {"experiment_id": "0", "name": name, "queue_type": "CUSTOM", "users": list(users)}
    queue = str(desk.call("POST", "/review-queues/create", made)["review_queue"]["queue_id"])
    for first in range(0, len(traces), 100):
        items = {"queue_id": queue, "item_type": "TRACE", "item_ids": traces[first : first + 100]}
        desk.call("POST", "/review-queues/items/add", items)
    return queue


class Desk:
    """One reviewer's connection."""

    def __init__(self, base: str):
        parts = urlsplit(base)
        self._connection = http.client.HTTPConnection(
            str(parts.hostname), int(parts.port or 80), timeout=120
        )

    def call(self, method: str, path: str, words: dict[str, object]) -> dict[str, object]:
        """The answer of a call; an assertion where it failed."""
        body = None if method == "GET" else json.dumps(words)
        asked = f"{API}{path}" + (f"?{urlencode(words)}" if method == "GET" else "")
        self._connection.request(method, asked, body, {"Content-Type": "application/json"})
        answer = self._connection.getresponse()
        said = answer.read()
        assert answer.status == 200, (path, answer.status, said[:300])
        return json.loads(said or b"{}")


def _shift(base: str, queues: Sequence[str], names: Sequence[str], seconds: float) -> Figures:
    spawn = multiprocessing.get_context("spawn")
    given = spawn.Queue()
    ready = spawn.Barrier(len(names))
    people = [
        spawn.Process(target=_review, args=(base, queue, name, seconds, ready, given))
        for queue, name in zip(queues, names, strict=True)
    ]
    for person in people:
        person.start()
    shifts = [given.get(timeout=seconds + 120) for _ in people]
    for person in people:
        person.join()
    done = Counter(item for items, _, _ in shifts for item in items)
    longest = max(took for _, _, took in shifts)
    return {
        "answers": done.total(),
        "items": len(done),
        "items_per_s": round(len(done) / longest, 2),
        "given_twice": sum(n > 1 for n in done.values()),
        "errors": [error for _, error, _ in shifts if error][:2],
    }


def _review(
    base: str, queue: str, name: str, seconds: float, ready: object, given: "Queue[object]"
) -> None:
    desk, done, error = Desk(base), [], ""
    ready.wait()
    began = time.perf_counter()
    try:
        while time.perf_counter() - began < seconds:
            asked = {"queue_id": queue, "status": "PENDING", "max_results": 1}
            items = desk.call("GET", "/review-queues/items/list", asked).get("items", [])
            if not items:
                break
            item = items[0]["item_id"]
            source = {"source_type": "HUMAN", "source_id": name}
            said = {"assessment_name": "objection", "feedback": {"value": True}, "source": source}
            path = f"/traces/{item}/assessments"
            desk.call("POST", path, {"assessment": said | {"trace_id": item}})
            closed = {"queue_id": queue, "item_id": item, "status": "COMPLETE"}
            desk.call("POST", "/review-queues/items/set-status", closed | {"completed_by": name})
            done.append(item)
    except (OSError, AssertionError, http.client.HTTPException) as problem:
        error = repr(problem)[:300]
    given.put((done, error, time.perf_counter() - began))
