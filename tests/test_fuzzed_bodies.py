"""Whatever a body holds, the answer says what was done with it, and the drain goes on."""

import pytest
from fastapi.testclient import TestClient

from flywheel.settings import Settings, TracesSettings
from flywheel.store import Project
from flywheel.traces.draining import drain_and_load
from flywheel.traces.inbox import fill_of
from flywheel.web.app import create_app
from tests.fuzzing import Fuzzed, fuzzed
from tests.otlp import PROTOBUF, said
from tests.served import key_of
from tests.signed_in import stranger


def why_of(sent: Fuzzed, answer: object) -> str:
    """What an answer says of spans or bodies that were not taken; empty where all were."""
    if sent.media == PROTOBUF:
        if answer.status_code == 200:
            partial = said(answer.content).partial_success
            assert bool(partial.rejected_spans) == bool(partial.error_message)
            return partial.error_message
        # A google.rpc.Status: code, and message.
        return answer.content[3:].decode(errors="replace")
    spoken = answer.json()
    if answer.status_code == 200:
        return str(spoken.get("partialSuccess") or spoken.get("rejected") or "")
    return spoken["message"]


@pytest.mark.parametrize("seed", [1, 2])
def test_a_mutated_body_is_taken_or_refused_with_a_reason(project: Project, seed: int) -> None:
    client: TestClient = stranger(create_app(project))
    key = key_of(project, "robot", "service")
    statuses = set()
    for sent in fuzzed(300, seed):
        headers = {"X-API-Key": key, "Content-Type": sent.media, "Content-Encoding": sent.encoding}
        answer = client.post("/v1/traces", content=sent.content, headers=headers)
        assert answer.status_code in (200, 400, 415), (answer.status_code, sent)
        assert answer.status_code == 200 or why_of(sent, answer), sent
        statuses.add(answer.status_code)
    assert statuses == {200, 400, 415}
    assert fill_of(project.stores.ledger).rows > 40
    # What was taken can be stored.
    drain_and_load(project.stores, Settings(traces=TracesSettings(idle_s=0)))
    assert fill_of(project.stores.ledger).rows == 0
