"""A shop whose users complain, labels of people, and a server that proposes metrics by a script.

No model is behind the server: it writes what a test wrote down, answer by answer.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from flywheel.corrections import derive_labels
from flywheel.evolution.metric_set.wanted import WantedChange, WantedChanges
from flywheel.models.endpoint import Endpoint
from flywheel.models.writer import Writer
from flywheel.records import unit_hash
from flywheel.review import decide
from flywheel.settings import GenerativeSettings
from flywheel.settings.evolving import EvolutionSettings
from flywheel.store import Project
from flywheel.store.ledger import Ledger
from tests.conftest import trace
from tests.faulty_proxy import Double, Json, completion
from tests.judged import add_traces, said

N_TRACES = 150
# Whole conversations by kind, the last turn of the user; two kinds are errors.
WRONG = "That is wrong, I asked for the blue one."
LATE = "I am still waiting since Monday, where is it?"
FINE = "Thanks, that helps."
ASKING = "What is wrong with the red one, by the way?"

FINDS_WRONG = """select trace_id, count(*) as value,
    if(bool_or(content ilike '%that is wrong%'), 'true', 'false') as label
from messages where role = 'user' group by trace_id"""
FINDS_BOTH = FINDS_WRONG.replace(
    "content ilike '%that is wrong%'",
    "content ilike '%that is wrong%' or content ilike '%still waiting%'",
)
CRIES_WOLF = FINDS_WRONG.replace("%that is wrong%", "%wrong%")


def last_turn(name: str) -> str:
    """A third correct it, a sixth wait, a sixth only ask about what is wrong, a third are fine."""
    place = unit_hash(name, "kind")
    return WRONG if place < 1 / 3 else LATE if place < 0.5 else ASKING if place < 2 / 3 else FINE


def fill_shop(project: Project, n: int = N_TRACES) -> None:
    """Labelled conversations; people see an error where the user corrects or waits."""
    names = [f"trace-{number:04}" for number in range(n)]
    rows = [
        trace(
            *(name, f"Do you have number {i} in blue?", "Yes, here it is.", last_turn(name)),
            app=("shop", "travel")[i % 2],
        )
        for i, name in enumerate(names)
    ]
    add_traces(project.stores, rows)
    for name in names:
        decide(project.stores.ledger, said(name, last_turn(name) in (WRONG, LATE)))
    derive_labels(project.stores)


def wanted(name: str = "says_wrong", body: str = FINDS_WRONG, **fields: object) -> WantedChange:
    """A change, an added SELECT where nothing else is said."""
    given: dict[str, object] = {
        **{"change": "add", "name": name, "form": "sql", "direction": "lower_is_better"},
        **{"description": "Whether the user says that an answer is wrong.", "body": body},
        **{"why": "Users correct answers and no metric sees it.", "logs": [1, 2]},
    }
    return WantedChange.model_validate(given | fields)


def with_settings(project: Project, **changes: object) -> Project:
    """The project with other settings of evolution."""
    evolution = EvolutionSettings.model_validate(changes)
    settings = project.settings.model_copy(update={"evolution": evolution})
    return replace(project, settings=settings)


@dataclass
class Script:
    """Answers in their order, the last of them again and again; `asked` are the requests."""

    answers: Sequence[Sequence[WantedChange]]
    asked: list[Json] = field(default_factory=list)

    def reply(self, body: Json) -> tuple[int, object]:
        """What the server says to a request."""
        self.asked.append(body)
        changes = list(self.answers[min(len(self.asked), len(self.answers)) - 1])
        return 200, completion(WantedChanges(changes=changes).model_dump_json())

    def texts(self, number: int) -> list[str]:
        """The contents of the messages of a request."""
        messages = self.asked[number]["messages"]
        return [str(one["content"]) for one in json.loads(json.dumps(messages))]


def scripted_writer(ledger: Ledger, server: Double) -> Writer:
    """A writer behind that server."""
    settings = GenerativeSettings(
        model="scripted",
        base_url=server.url,
        api_key_env="",
        max_reply_tokens=2_000,
        context_tokens=32_768,
    )
    return Writer(Endpoint("author", settings, ledger))
