"""Experiments: the page that shows what each says by now, and ends one.

What the pipeline published and the ledger in, a page out; a form in, a conclusion in the audit log
out. The one idea is that whoever looks may stop: the interval holds at every look.
"""

import json
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Depends, Form, Path, Request
from fastapi.responses import RedirectResponse, Response

from flywheel.experiments.experiment import Experiment, ExperimentArm, outcome_name
from flywheel.experiments.looks import Contrast, Reading, size_in_words
from flywheel.experiments.publishing import conclude, published_experiments
from flywheel.experiments.running import list_experiments
from flywheel.quality.figures import Figure
from flywheel.review.rows import storable
from flywheel.store import Stores
from flywheel.web.access import Actor, may
from flywheel.web.context import web_of
from flywheel.web.pages import page, see_other

router = APIRouter()

# Characters of what an arm stands for.
LONGEST_VALUE = 120
# Not of reviewers: who knows the arm may judge by it.
Manager = Annotated[Actor, Depends(may("manage"))]


@dataclass(frozen=True, slots=True)
class ShownExperiment:
    """An experiment with its last look; both are None before the first."""

    experiment: Experiment
    reading: Reading | None
    figure: Figure | None

    @property
    def outcome(self) -> str:
        """What is compared, in words."""
        return outcome_name(self.experiment.plan.outcome)

    @property
    def least(self) -> str:
        """The least difference that matters."""
        return size_in_words(self.experiment, self.experiment.plan.difference)

    def rate(self, estimate: float) -> str:
        """An arm's outcome, in percent where it is a share."""
        return f"{100 * estimate:.1f}\u00a0%" if self.experiment.is_rate else f"{estimate:.3f}"

    def meaning(self, arm: ExperimentArm) -> str:
        """What an arm stands for, in one short line."""
        value = arm.value
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        return text if len(text) <= LONGEST_VALUE else f"{text[: LONGEST_VALUE - 1]}…"

    @property
    def contrasts(self) -> list[Contrast]:
        """Each arm against the first."""
        return self.reading.contrasts if self.reading else []


def shown_experiments(stores: Stores) -> list[ShownExperiment]:
    """Those that run first, each kind the last begun first."""
    known = {one.reading.experiment: one for one in published_experiments(stores)}
    shown = []
    for one in list_experiments(stores.ledger):
        seen = known.get(one.name)
        shown.append(
            ShownExperiment(one, seen.reading if seen else None, seen.figure if seen else None)
        )
    return sorted(shown, key=lambda one: not one.experiment.is_running)


@router.get("/experiments")
def show_experiments(request: Request, actor: Manager) -> Response:
    """What is compared, what it says by now, and how long it may take."""
    shown = shown_experiments(web_of(request).stores)
    return page(request, actor, "experiments.html", shown=shown)


@router.post("/experiments/{name}/stop")
def stop(
    request: Request,
    actor: Manager,
    name: Annotated[str, Path(max_length=80)],
    why: Annotated[str, Form(max_length=2_000)] = "",
) -> RedirectResponse:
    """End an experiment with what its last look said."""
    conclude(web_of(request).stores, name, actor.name, storable(why))
    return see_other("/experiments")
