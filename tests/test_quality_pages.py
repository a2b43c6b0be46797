"""The quality and reviewers' pages: numbers with intervals, and for each role what it may see."""

import re
from collections.abc import Iterable
from datetime import timedelta

import pytest
from fastapi import FastAPI

from flywheel.corrections import derive_labels
from flywheel.quality import write_quality_report
from flywheel.review import decide
from flywheel.store import Project, open_project
from flywheel.store.publications import publish
from flywheel.web.app import create_app
from flywheel.web.quality_pages import Kept, look_at_people
from tests.conftest import trace
from tests.judged import DAY, add_scores, add_traces, said
from tests.signed_in import add_person, client_of, stranger

HOSTILE = "<script>alert(1)</script>\"'&\u202e"
NAMES = [f"t{number}" for number in range(40)]


@pytest.fixture
def empty(project: Project) -> FastAPI:
    """The web app of an empty project."""
    return create_app(project)


@pytest.fixture(scope="module")
def furnished(tmp_path_factory: pytest.TempPathFactory) -> Iterable[FastAPI]:
    """The web app of a project with something on every part of both pages; tests only look."""
    project = open_project(tmp_path_factory.mktemp("furnished"))
    label(project)
    for name, role in (("eve", "engineer"), ("ann", "reviewer"), ("new", "reviewer")):
        add_person(project, name, role)
    yield create_app(project)
    project.stores.ledger.close()


def seen_by(app: FastAPI, name: str, path: str) -> str:
    """What this user is shown at `path`."""
    answer = client_of(app, name).get(path)
    assert answer.status_code == 200
    return answer.text


def label(project: Project) -> None:
    """Forty judged traces of two days, on which two people decided and differ on four."""
    stores = project.stores
    for day, names in ((DAY, NAMES[:20]), (DAY + timedelta(1), NAMES[20:])):
        add_traces(stores, [trace(name, "hi", "ho", "no", app=HOSTILE) for name in names], day)
        add_scores(stores, {n: 0.9 if NAMES.index(n) % 4 == 0 else 0.1 for n in names}, day)
    for number, name in enumerate(NAMES):
        decide(stores.ledger, said(name, number % 4 == 0, "ann", is_audit=True, seconds=20.0))
        decide(stores.ledger, said(name, number % 4 == 0 or number in (5, 6, 7, 9), "bob"))
    derive_labels(stores)
    write_quality_report(stores)


def test_the_quality_page_says_what_was_measured(furnished: FastAPI) -> None:
    html = seen_by(furnished, "eve", "/quality")
    for heading in (
        "Perceived errors, by day",
        "The judge against people, by week",
        "Reviewers with each other, by week",
        "Open items, by days in the queue",
        "Days in the queue when finished, by day",
    ):
        assert heading in html
    # 36 of 40 the same; one says yes to 10, the other to 14: by chance .25 * .35 + .75 * .65 =
    # .575; kappa (.9 - .575) / .425 = .765.
    assert ">0.76</a><span>[0." in html
    assert "Cohen&#39;s kappa" in html
    assert html.count('class="on-wide"') == html.count('class="on-narrow"') == 3
    assert re.search(r"/queue\?app=[^\"]+&amp;day=2026-03-03&amp;status=complete", html)


def test_charts_need_no_style_and_no_script(furnished: FastAPI) -> None:
    for path in ("/quality", "/reviewers"):
        html = seen_by(furnished, "eve", path)
        assert " style=" not in html
        assert "<style" not in html
        assert "<script>" not in html
        assert "\u202e" not in html


def test_each_chart_stands_as_a_table_too(furnished: FastAPI) -> None:
    html = seen_by(furnished, "eve", "/quality")
    charts = len(re.findall(r'<svg[^>]*class="on-wide"', html))
    tables = html.count("The same as a table")
    assert tables >= charts
    assert len(re.findall(r'<svg[^>]*class="on-wide"[^>]*aria-hidden="true"', html)) == charts


def test_an_empty_project_says_what_is_missing(project: Project, empty: FastAPI) -> None:
    add_person(project, "eve", "engineer")
    html = seen_by(empty, "eve", "/quality")
    assert "Nothing was measured yet" in html
    assert "flywheel loop --all" in html
    write_quality_report(project.stores)
    html = seen_by(empty, "eve", "/quality")
    assert "No trace has a verdict yet." in html
    assert "<svg" not in html.split("<main", 1)[1]
    html = seen_by(empty, "eve", "/reviewers")
    assert "Nobody has decided anything yet." in html
    assert "0 items with two opinions, and at least 10 are needed" in html


def test_what_cannot_be_read_is_as_good_as_not_published(project: Project, empty: FastAPI) -> None:
    add_person(project, "eve", "engineer")
    publish(project.stores, "quality", b'{"from": "another version"}')
    assert "Nothing was measured yet" in seen_by(empty, "eve", "/quality")


def test_an_engineer_sees_every_reviewer(furnished: FastAPI) -> None:
    html = seen_by(furnished, "eve", "/reviewers")
    assert '<a href="/audit?who=ann">ann</a>' in html
    assert '<a href="/audit?who=bob">bob</a>' in html
    assert "same answer 90.0\u00a0%\u00a0[" in html


def test_a_reviewer_sees_the_own_row_and_the_totals(furnished: FastAPI) -> None:
    html = seen_by(furnished, "ann", "/reviewers")
    assert ">ann</a></th>" in html
    assert "bob" not in html
    assert "/audit" not in html
    assert re.search(r"<th scope=\"row\">All</th>.*>80</td>", html, re.DOTALL)


def test_a_reviewer_without_decisions_is_told_where_to_begin(furnished: FastAPI) -> None:
    html = seen_by(furnished, "new", "/reviewers")
    assert "You have not decided anything yet." in html
    assert "bob" not in html


def test_a_reviewer_may_see_the_quality_page(furnished: FastAPI) -> None:
    assert "Perceived errors, by day" in seen_by(furnished, "ann", "/quality")


@pytest.mark.parametrize("path", ["/quality", "/reviewers"])
def test_nobody_looks_without_signing_in(empty: FastAPI, path: str) -> None:
    answer = stranger(empty).get(path)
    assert answer.status_code in (302, 303)
    assert answer.headers["location"].startswith("/login")


def test_a_hostile_reviewer_is_a_name(project: Project, empty: FastAPI) -> None:
    add_person(project, "eve", "engineer")
    for number in range(12):
        decide(project.stores.ledger, said(f"t{number}", number < 6, HOSTILE))
    html = seen_by(empty, "eve", "/reviewers")
    assert "&lt;script&gt;alert(1)" in html
    assert "<script>alert" not in html
    assert "\u202e" not in html


def test_what_people_did_is_counted_once_a_minute(project: Project) -> None:
    looked: list[int] = []
    kept = Kept(lambda: looked.append(1) or look_at_people(project.stores.ledger))
    assert kept.get() is kept.get()
    assert len(looked) == 1
    always = Kept(lambda: looked.append(1) or len(looked), seconds=-1.0)
    assert (always.get(), always.get()) == (2, 3)
