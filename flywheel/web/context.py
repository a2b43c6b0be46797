"""What a page is given besides its request: the project, its stores, templates and sessions.

One object an application, made by `create_app`; the one idea is that nothing is global, so that two
projects can be served by one process, as in the tests.
"""

import hashlib
from asyncio import Semaphore
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import cast

import jinja2
from fastapi import Request

from flywheel.experiments.assigning import ArmService
from flywheel.redaction import Redactor
from flywheel.retrieval.serving import ExampleService
from flywheel.store import Project, Stores
from flywheel.traces.inbox import Inbox
from flywheel.web.champion import Champion
from flywheel.web.sessions import Sessions

STATIC = Path(__file__).parent / "static"
TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True, slots=True)
class Web:
    """What the pages of one project share; `host` is what the server listens on.

    `dagster_url` is where the orchestrator's own pages are, or empty where it does not run.
    """

    project: Project
    stores: Stores
    templates: jinja2.Environment
    sessions: Sessions
    # Where live traces wait, and what is taken out of them before.
    inbox: Inbox
    redactor: Redactor
    # What applications are served: corrections, and the judge's word.
    examples: ExampleService
    champion: Champion
    # Which arm of an experiment a session is given.
    arms: ArmService
    host: str
    dagster_url: str
    # A body of 32 MB may become a GB while it is read; and reviewers wait for threads too.
    receiving: Semaphore = field(default_factory=lambda: Semaphore(2))
    # Versions of the rubric that the ledger has already.
    kept_rubrics: set[str] = field(default_factory=set)

    @property
    def lease_s(self) -> float:
        """Seconds for which a claim counts after its page was last open."""
        return self.project.settings.web.claim_minutes * 60


def web_of(request: Request) -> Web:
    """What the application that answers this request shares."""
    return cast(Web, request.app.state.web)


def open_templates() -> jinja2.Environment:
    """The templates: everything is escaped, whatever a file is called; a missing name is an error.

    `static(name)` in a template is the address of a file in `static/`, which changes with the file.
    """
    templates = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    templates.globals["static"] = _static
    return templates


@cache
def _static(name: str) -> str:
    path = STATIC / name
    version = hashlib.sha256(path.read_bytes()).hexdigest()[:16] if path.exists() else ""
    return f"/static/{name}?v={version}"
