"""The benchmark against peers: its corpus is one and the same, and its part for this project runs.

The peers are in environments of their own, which the tests do not have, and no server is started.
"""

import gzip
from pathlib import Path

from flywheel.store import open_project
from flywheel.traces.inbox import Inbox
from tests.bench.peers.corpus import SPANS_A_TRACE, agent_trace, requests_of
from tests.bench.peers.in_flywheel import main
from tests.bench.peers.judge_stub import REASON, filled, reply
from tests.faulty_proxy import Double

N_TRACES = 50


def test_the_same_numbers_give_the_same_bytes_and_others_give_others() -> None:
    first, again, later = requests_of(120), requests_of(120), requests_of(50, 121)
    assert first == again
    assert [len(one.span_ids) for one in first] == [200, 200, 80]
    assert not later[0].span_ids & frozenset().union(*(one.span_ids for one in first))


def test_the_stub_fills_whatever_shape_is_asked_for() -> None:
    shape = {"label": {"enum": ["yes", "no"]}, "sure": {"type": "boolean"}, "why": {}}
    assert filled({"properties": shape}) == {"label": "yes", "sure": True, "why": REASON}


def test_fifty_traces_are_drained_measured_and_judged_as_the_corpus_says(tmp_path: Path) -> None:
    project = open_project(tmp_path)
    for one in requests_of(N_TRACES):
        plain, n_spans = gzip.decompress(one.body), len(one.span_ids)
        Inbox(project.stores.ledger, 512).take_in("otlp", "other", plain, n_spans)
    project.stores.ledger.close()
    answers = [answer_of(number) for number in range(1, N_TRACES + 1)]
    assert main("drain", tmp_path)["spans"] == N_TRACES * SPANS_A_TRACE
    measured = main("metrics", tmp_path)
    assert measured["words"] == sum(len(answer.split()) for answer in answers)
    assert measured["sorry"] == sum("sorry" in answer.lower() for answer in answers) > 0
    with Double(reply) as server:
        assert main("judge", tmp_path, 20, server.url)["asked"] == 20


def answer_of(number: int) -> str:
    """What the assistant said last in a trace."""
    attributes = {one.key: one.value.string_value for one in agent_trace(number)[0].attributes}
    return attributes["output.value"]
