"""Proposals: approved, edited, rejected, taken back; each once, and all of it in the log."""

import json
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from flywheel.errors import BadInput, BadMetric, Refused
from flywheel.evolution.evidence import Check, Evidence, Figure
from flywheel.evolution.keepers import keeper_of
from flywheel.evolution.metric_set.keeping import MetricKeeper
from flywheel.evolution.proposals import (
    Draft,
    Proposal,
    approve,
    find_proposal,
    list_proposals,
    propose,
    reject,
    undo,
)
from flywheel.records import Interval
from flywheel.store import Project
from flywheel.store.tables import audit_log
from flywheel.web.app import create_app
from tests.signed_in import add_person, client_of, csrf_of

METRIC = """-- name: long_answer
-- level: trace
-- direction: neutral
-- owner: a person
-- review_due: 2030-01-01
-- Whether a conversation is long.
select trace_id, n_messages as value, if(n_messages > {n}, 'true', 'false') as label
from traces
order by trace_id
"""
EVIDENCE = Evidence(
    "It finds 8 of 10 of the errors.",
    (Figure("coverage", Interval(0.8, 0.5, 0.95), Interval(0.1, 0.0, 0.4), 10),),
    (Check("runs", True, "10 of 10 traces"),),
    ("measured on labels of March",),
)


def draft(n: int = 20, before: str | None = None, **changes: object) -> Draft:
    fields: dict[str, object] = {
        **{"kind": "metric", "subject": "long_answer.sql"},
        **{"change": "redefine" if before else "add", "before": before},
        **{"after": METRIC.format(n=n), "why": "long answers are missed", "evidence": EVIDENCE},
        **{"shown_by": (("t1", "h1"), ("t2", "h2"))},
    }
    return Draft(**(fields | changes))


def proposed(project: Project, given: Draft) -> Proposal:
    made = propose(project.stores.ledger, given, "a-model")
    assert made is not None
    return made


def decide(project: Project, number: int, text: str | None = None) -> Proposal:
    keeper = keeper_of("metric")
    return approve(
        project=project, keeper=keeper, proposal_id=number, actor="ann", why="good", text=text
    )


def take_back(project: Project, number: int) -> Proposal:
    keeper = keeper_of("metric")
    return undo(project=project, keeper=keeper, proposal_id=number, actor="bob", why="no")


def in_metrics(project: Project) -> Path:
    project.metrics_dir.mkdir(parents=True, exist_ok=True)
    return project.metrics_dir / "long_answer.sql"


def test_what_is_proposed_is_read_back_whole_and_proposed_once(project: Project) -> None:
    made = proposed(project, draft())
    assert made.draft == draft()
    assert (made.status, made.proposed_by) == ("open", "a-model")
    assert propose(project.stores.ledger, draft(why="in other words"), "another") is None
    assert [one.proposal_id for one in list_proposals(project.stores.ledger)] == [made.proposal_id]


def test_an_approved_metric_is_a_file_and_taken_back_it_is_none(project: Project) -> None:
    number = proposed(project, draft()).proposal_id
    file = project.metrics_dir / "long_answer.sql"
    assert decide(project, number).status == "approved"
    assert file.read_text() == METRIC.format(n=20)
    done = take_back(project, number)
    assert (done.status, done.decided_by, done.undone_by) == ("undone", "ann", "bob")
    assert not file.exists()
    with project.stores.ledger.read() as connection:
        rows = connection.execute(
            sa.select(audit_log.c.actor, audit_log.c.action, audit_log.c.detail).where(
                audit_log.c.subject == "metric long_answer.sql"
            )
        ).all()
    said = [(row.actor, row.action, json.loads(row.detail)["proposal"]) for row in rows]
    assert said == [
        ("a-model", "propose", number),
        ("ann", "approve_proposal", number),
        ("bob", "undo_proposal", number),
    ]


def test_an_edited_text_counts_and_is_checked(project: Project) -> None:
    number = proposed(project, draft()).proposal_id
    with pytest.raises(BadMetric, match=r"^metric long_answer\.sql: "):
        decide(project, number, METRIC.format(n=3).replace("select trace_id,", "drop table x --"))
    assert find_proposal(project.stores.ledger, number).status == "open"
    done = decide(project, number, METRIC.format(n=3))
    assert done.text == METRIC.format(n=3)
    assert (project.metrics_dir / "long_answer.sql").read_text() == done.text


def test_a_file_that_a_person_changed_meanwhile_is_left_alone(project: Project) -> None:
    first = proposed(project, draft())
    decide(project, first.proposal_id)
    second = proposed(project, draft(5, before=METRIC.format(n=20)))
    file = project.metrics_dir / "long_answer.sql"
    file.write_text(METRIC.format(n=99))
    with pytest.raises(Refused, match="changed after"):
        decide(project, second.proposal_id)
    with pytest.raises(Refused, match="changed after"):
        take_back(project, first.proposal_id)
    assert file.read_text() == METRIC.format(n=99)
    statuses = [find_proposal(project.stores.ledger, n).status for n in (1, 2)]
    assert statuses == ["approved", "open"]


def test_each_decision_is_made_once(project: Project) -> None:
    number = proposed(project, draft()).proposal_id
    reject(project.stores.ledger, number, "ann", "no need")
    with pytest.raises(Refused, match="rejected by ann, not open"):
        decide(project, number)
    with pytest.raises(Refused, match="rejected by ann, not approved"):
        take_back(project, number)


@pytest.mark.parametrize("subject", ["../outside.sql", "a.py", "no name.sql", "/etc/x.sql"])
def test_a_subject_that_is_no_file_of_a_metric_is_refused(project: Project, subject: str) -> None:
    number = proposed(project, draft(subject=subject)).proposal_id
    with pytest.raises(BadInput, match="no file of a metric"):
        decide(project, number)


def test_a_person_approves_and_takes_back_on_the_page(project: Project) -> None:
    number = proposed(project, draft(why="<script>alert(1)</script>")).proposal_id
    app = create_app(project)
    client = client_of(app, add_person(project, "ann", "engineer"))
    listed = client.get("/proposals").text
    assert "add metric" in listed
    shown = client.get(f"/proposals/{number}").text
    assert "<script>alert" not in shown
    assert "80.0\u00a0% (50.0\u00a0% to 95.0\u00a0%)" in shown
    form = {"csrf": csrf_of(app, client), "why": "it finds them"}
    sent = METRIC.format(n=7).replace("\n", "\r\n")
    client.post(f"/proposals/{number}/approve", data=form | {"text": sent})
    assert (project.metrics_dir / "long_answer.sql").read_text() == METRIC.format(n=7)
    assert "with another text than was proposed" in client.get(f"/proposals/{number}").text
    client.post(f"/proposals/{number}/rescore", data={"csrf": form["csrf"]})
    assert "the pipeline has not begun yet" in client.get(f"/proposals/{number}").text
    client.post(f"/proposals/{number}/undo", data=form)
    assert not (project.metrics_dir / "long_answer.sql").exists()


def test_nothing_is_decided_without_a_reason(project: Project) -> None:
    number = proposed(project, draft()).proposal_id
    app = create_app(project)
    client = client_of(app, add_person(project, "ann", "engineer"))
    answer = client.post(f"/proposals/{number}/approve", data={"csrf": csrf_of(app, client)})
    assert answer.status_code == 422
    assert find_proposal(project.stores.ledger, number).status == "open"


def test_a_file_is_put_back_as_it_was_to_the_byte_and_as_readable(project: Project) -> None:
    file = in_metrics(project)
    before = METRIC.format(n=20).replace("\n", "\r\n")
    file.write_bytes(before.encode())
    file.chmod(0o600)
    number = proposed(project, draft(5, before=before)).proposal_id
    decide(project, number)
    assert file.read_text() == METRIC.format(n=5)
    assert file.stat().st_mode & 0o777 == 0o600
    take_back(project, number)
    assert file.read_bytes() == before.encode()
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_file_that_is_a_link_stays_one(project: Project, tmp_path: Path) -> None:
    elsewhere = tmp_path / "shared.sql"
    elsewhere.write_text(METRIC.format(n=20))
    file = in_metrics(project)
    file.symlink_to(elsewhere)
    decide(project, proposed(project, draft(5, before=METRIC.format(n=20))).proposal_id)
    assert file.is_symlink()
    assert elsewhere.read_text() == METRIC.format(n=5)


def test_a_file_that_is_no_text_is_a_sentence(project: Project) -> None:
    in_metrics(project).write_bytes(b"-- caf\xe9\n")
    number = proposed(project, draft()).proposal_id
    with pytest.raises(BadInput, match=r"long_answer\.sql is no UTF-8 text"):
        decide(project, number)


def test_what_changes_while_it_is_checked_is_left_alone(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = proposed(project, draft()).proposal_id
    file, keeper = in_metrics(project), MetricKeeper()
    checked = keeper.check

    def while_checking(*given: Any) -> None:
        checked(*given)
        file.write_text(METRIC.format(n=99))

    monkeypatch.setattr(keeper, "check", while_checking)
    with pytest.raises(Refused, match="changed after"):
        approve(project=project, keeper=keeper, proposal_id=number, actor="ann", why="good")
    assert file.read_text() == METRIC.format(n=99)
    assert find_proposal(project.stores.ledger, number).status == "open"


def test_what_waits_is_listed_however_much_was_decided_since(project: Project) -> None:
    ledger = project.stores.ledger
    waiting = proposed(project, draft(1)).proposal_id
    for n in (2, 3):
        reject(ledger, proposed(project, draft(n)).proposal_id, "ann", "no need")
    assert [one.proposal_id for one in list_proposals(ledger, limit=2)] == [waiting, 3]
