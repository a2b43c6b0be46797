"""What goes on while faults are made: senders, reviewers, a gate, and what was acknowledged.

Everything that was acknowledged stands in a file of its own, synced before the next step, and is
what the stores are held against afterwards.
"""

import http.client
import json
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from flywheel.records import unit_hash
from flywheel.registry import CHALLENGER, CHAMPION, alias_of, follow_verdict, register, set_alias
from flywheel.settings import GateSettings
from flywheel.store import open_project
from tests.desk import Desk, number_of
from tests.registered import MANIFEST, compare
from tests.spanned import call, step

LINES, JSON = "application/x-ndjson", "application/json"
TRACES_A_REQUEST = 4
TARGET = "reply"
Json = dict[str, object]


class Acknowledged:
    """Rows (what, and its fields) that a server has answered for; each is on disk at once."""

    def __init__(self, path: Path):
        self._file = path.open("a", encoding="utf-8")
        self._turn = threading.Lock()
        self._rows: list[Json] = []

    def note(self, what: str, **fields: object) -> None:
        """Add a row."""
        row = {"what": what, **fields}
        with self._turn:
            self._file.write(json.dumps(row) + "\n")
            self._file.flush()
            os.fsync(self._file.fileno())
            self._rows.append(row)

    def of(self, what: str) -> list[Json]:
        """All rows of a kind, oldest first."""
        with self._turn:
            return [row for row in self._rows if row["what"] == what]

    def close(self) -> None:
        """Close the file."""
        self._file.close()


@dataclass(frozen=True)
class Request:
    """A body as it is sent, and what it holds."""

    content: bytes
    media: str
    trace_ids: list[str]
    span_ids: list[str]


def requests_of(day: date, n: int) -> list[Request]:
    """`n` requests with traces of one day, every third as spans; the same for the same day."""
    return [(_spans if number % 3 == 2 else _lines)(day, number) for number in range(n)]


def _lines(day: date, number: int) -> Request:
    ids = [f"{day}-{number}-{i}" for i in range(TRACES_A_REQUEST)]
    rows = []
    for i, name in enumerate(ids):
        is_wrong = unit_hash(name, "wrong") < 0.4
        turns = [
            ("user", f"A table for {number + i + 2} people on Friday, {name}."),
            ("assistant", "Booked for Thursday." if is_wrong else "Booked for Friday."),
            ("user", "No, that is wrong, I said Friday." if is_wrong else "Great, thank you!"),
            ("assistant", "Sorry. It is Friday now." if is_wrong else "You are welcome."),
        ]
        messages = [{"role": role, "content": content} for role, content in turns]
        at = f"{day}T{8 + i:02}:00:00Z"
        rows.append(
            {"trace_id": name, "app": "shop", "session_id": f"s-{name}", "started_at": at}
            | {"messages": messages}
        )
    return Request("\n".join(map(json.dumps, rows)).encode(), LINES, ids, [])


def _spans(day: date, number: int) -> Request:
    noon = int((day - date(1970, 1, 1)).days * 86400 + 43200) * 1_000_000_000
    spans: list[Json] = []
    for i in range(TRACES_A_REQUEST):
        trace = f"{day:%Y%m%d}{number:04}{i:04}".rjust(32, "a")
        for place, one in enumerate((call(0, None), step(1, 0), step(2, 0))):
            ends = {"startTimeUnixNano": str(noon + place), "endTimeUnixNano": str(noon + 10**9)}
            own = {"traceId": trace, "spanId": f"{trace[-15:]}{place}"}
            if one["parentSpanId"]:
                own["parentSpanId"] = f"{trace[-15:]}0"
            spans.append(one | ends | own)
    body = {"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]}
    ids = sorted({str(one["traceId"]) for one in spans})
    return Request(json.dumps(body).encode(), JSON, ids, [str(one["spanId"]) for one in spans])


class Sender:
    """Sends requests one after the other; what was not answered with 200 is left."""

    def __init__(self, port: int, key: str, acknowledged: Acknowledged):
        self.port = port
        self._headers = {"Authorization": f"Bearer {key}", "X-Flywheel-App": "shop"}
        self._acknowledged = acknowledged

    def send(self, one: Request) -> bool:
        """Whether it was acknowledged."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            headers = self._headers | {"Content-Type": one.media}
            connection.request("POST", "/v1/traces", one.content, headers)
            answer = connection.getresponse()
            said = answer.read()
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()
        if answer.status != 200:
            return False
        assert not json.loads(said).get("rejected"), said
        self._acknowledged.note("request", trace_ids=one.trace_ids, span_ids=one.span_ids)
        return True


def review(
    port: int, name: str, key: str, acknowledged: Acknowledged, is_over: Callable[[], bool]
) -> None:
    """Claim and decide until it is over; every second decision on an error has a correction."""
    desk, n = Desk(port, key), 0
    while not is_over():
        try:
            status, said = desk.post("/v1/items/claim", {"messages": 0})
            item_id = number_of(said) if status == 200 else None
            if item_id is None:
                threading.Event().wait(0.2)
                continue
            words: Json = {"perceived_error": n % 2 == 0, "reason_code": "correction"}
            words |= {"reason": f"{name} on {item_id}"}
            if n % 4 == 0:
                words |= {"corrected_turn": 1, "corrected_text": f"Better, {name} on {item_id}."}
            n += 1
            status, said = desk.post(f"/v1/items/{item_id}/decision", words)
            if status == 200:
                text = words.get("corrected_text")
                number = said["decision_id"]
                acknowledged.note(
                    "decision", decision_id=number, item_id=item_id, reviewer=name, text=text
                )
        except (OSError, http.client.HTTPException, ValueError):
            threading.Event().wait(0.05)
    desk.close()


def gate_once(folder: Path, number: int) -> None:
    """A challenger registered, compared with the champion, and promoted where it passed."""
    project = open_project(folder)
    ledger, version = project.stores.ledger, f"{TARGET}-{number}"
    champion = alias_of(ledger, TARGET, CHAMPION)
    register(ledger, TARGET, version, MANIFEST, None, None, "pipeline")
    if champion is None:
        set_alias(ledger, TARGET, CHAMPION, version, "pipeline", "the first")
        return
    set_alias(ledger, TARGET, CHALLENGER, version, "pipeline", "newest training")
    if champion.version == version:
        return
    better = 0.12 if number % 3 else -0.1
    verdict = compare(project, version, better, 120, TARGET, champion.version)
    follow_verdict(ledger, TARGET, verdict, GateSettings(promotion="auto"), "pipeline")
