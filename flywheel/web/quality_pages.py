"""Quality: the pages that show how good the answers, the judge and the reviewers are.

What the pipeline published and the ledger in, pages out; the one idea is that charts are made
elsewhere, and that what people do is counted when somebody looks, at most once a minute.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from threading import Lock
from time import monotonic
from typing import Annotated, Generic, TypeVar

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse

from flywheel.quality.agreement import Agreement
from flywheel.quality.answers import AgreementReport, measure_answers, shared_answers
from flywheel.quality.figures import coefficient, name_of, share
from flywheel.quality.publishing import published_quality
from flywheel.quality.rates import EVERY_APP, JUDGE_ONLY
from flywheel.quality.throughput import Throughput, Work, measure_throughput
from flywheel.store.ledger import Ledger, now
from flywheel.web.access import Actor, may
from flywheel.web.context import web_of
from flywheel.web.pages import page

router = APIRouter()

Kind = TypeVar("Kind")
Reader = Annotated[Actor, Depends(may("review"))]

# How old what people did may be on a page.
KEPT_S = 60.0
# Of the days of traces, newest first, with how much of each is done.
DAYS_SHOWN = 14


class Kept(Generic[Kind]):
    """What `make` gave, kept for some seconds; made by one thread while the others wait."""

    def __init__(self, make: Callable[[], Kind], seconds: float = KEPT_S):
        self._make = make
        self._seconds = seconds
        self._lock = Lock()
        self._made: tuple[float, Kind] | None = None

    def get(self) -> Kind:
        """The value, made again where it is too old."""
        with self._lock:
            if self._made is None or monotonic() - self._made[0] > self._seconds:
                self._made = (monotonic(), self._make())
            return self._made[1]


@dataclass(frozen=True, slots=True)
class People:
    """What the ledger says of the people who review, as of a moment."""

    throughput: Throughput
    agreement: AgreementReport
    counted_at: datetime

    @property
    def oldest(self) -> str:
        """How long the oldest open item has waited, in words; empty where none is open."""
        if self.throughput.oldest_open is None:
            return ""
        waited = self.counted_at - self.throughput.oldest_open
        if waited < timedelta(hours=2):
            return f"{max(0, waited // timedelta(minutes=1))} minutes"
        if waited < timedelta(days=2):
            return f"{waited // timedelta(hours=1)} hours"
        return f"{waited.days:,} days"

    def with_others(self, reviewer: str) -> Agreement | None:
        """How far a reviewer agrees with the others; None where no item has two opinions."""
        return next((of for of in self.agreement.by_reviewer if of.of == reviewer), None)


def look_at_people(ledger: Ledger) -> People:
    """Count what people did until now, and measure how far they agree."""
    at = now()
    return People(measure_throughput(ledger, at), measure_answers(shared_answers(ledger)), at)


@router.get("/quality")
def show_quality(request: Request, actor: Reader) -> HTMLResponse:
    """How often users see an error, how far that number can be believed, and how that moves."""
    published = published_quality(web_of(request).stores)
    estimates = published.estimates if published else []
    whole = [e for e in estimates if e.app == EVERY_APP]
    return page(
        request,
        actor,
        "quality.html",
        published=published,
        headline=next((e for e in whole if e.method != JUDGE_ONLY), None),
        raw=next((e for e in whole if e.method == JUDGE_ONLY), None),
        people=_people(request),
        every_app=EVERY_APP,
        share=share,
        coefficient=coefficient,
        name_of=name_of,
    )


@router.get("/reviewers")
def show_reviewers(request: Request, actor: Reader) -> HTMLResponse:
    """What each reviewer got done and agrees on; a reviewer sees the own row and the totals."""
    people = _people(request)
    return page(
        request,
        actor,
        "reviewers.html",
        people=people,
        work=_visible(people.throughput.by_reviewer, actor),
        sees_all=actor.may("manage"),
        days=people.throughput.by_day[:DAYS_SHOWN],
        share=share,
        coefficient=coefficient,
        name_of=name_of,
    )


def _visible(work: list[Work], actor: Actor) -> list[Work]:
    if actor.may("manage"):
        return work
    return [one for one in work if one.reviewer == actor.name]


def _people(request: Request) -> People:
    state, ledger = request.app.state, web_of(request).stores.ledger
    with _starting:
        if not hasattr(state, "people"):
            state.people = Kept(lambda: look_at_people(ledger))
        kept: Kept[People] = state.people
    return kept.get()


_starting = Lock()
