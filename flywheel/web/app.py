"""The application: every page and the API of one project, in one process.

A project in, an ASGI application out; the one idea is that it is put together here and nowhere
else. It reads and writes the ledger, reads artifacts, and never opens the warehouse.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from threading import Thread

from fastapi import APIRouter, FastAPI
from fastapi.staticfiles import StaticFiles
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware

from flywheel import __version__
from flywheel.experiments.assigning import ArmService
from flywheel.models.embedder import load_embedder
from flywheel.models.light import light_embedder
from flywheel.redaction import Redactor
from flywheel.retrieval.serving import ExampleService, Models
from flywheel.store import Project
from flywheel.traces.conversations import InputLevers
from flywheel.traces.inbox import Inbox
from flywheel.web import (
    account_pages,
    adjudication_pages,
    api,
    audit_pages,
    example_pages,
    experiment_api,
    experiment_pages,
    export_pages,
    failure_pages,
    feedback_api,
    function_pages,
    graph_pages,
    item_pages,
    langfuse_api,
    monitoring,
    otlp_api,
    proposal_pages,
    quality_pages,
    queue_pages,
    registry_api,
    registry_pages,
    serving_api,
    settings_pages,
    trace_pages,
)
from flywheel.web.access import comes_in
from flywheel.web.champion import Champion
from flywheel.web.context import STATIC, Web, open_templates
from flywheel.web.faults import handle_faults
from flywheel.web.passwords import nobodys_hash
from flywheel.web.security import (
    MAX_BODY_BYTES,
    MAX_FORM_FIELDS,
    BodyLimit,
    Guard,
    check_public_url,
    known_hosts,
)
from flywheel.web.sessions import open_sessions

ROUTERS: tuple[APIRouter, ...] = (
    account_pages.router,
    queue_pages.router,
    item_pages.router,
    trace_pages.router,
    example_pages.router,
    experiment_pages.router,
    adjudication_pages.router,
    quality_pages.router,
    registry_pages.router,
    failure_pages.router,
    proposal_pages.router,
    function_pages.router,
    graph_pages.router,
    export_pages.router,
    audit_pages.router,
    settings_pages.router,
    api.router,
    feedback_api.router,
    langfuse_api.router,
    otlp_api.router,
    serving_api.router,
    registry_api.router,
    experiment_api.router,
    monitoring.router,
)


def create_app(project: Project, host: str = "127.0.0.1", dagster_url: str = "") -> FastAPI:
    """The pages and the API of a project, for a server that listens on `host`.

    Raises BadSetting where `web.secret` is no secret or `web.public_url` no address.
    """
    check_public_url(project.settings.web.public_url)
    web = Web(
        project=project,
        stores=project.stores,
        templates=open_templates(),
        sessions=open_sessions(project),
        inbox=Inbox(project.stores.ledger, project.settings.traces.inbox_mb),
        redactor=Redactor.of(project.settings.privacy),
        examples=ExampleService(
            project.stores, project.settings.retrieval, partial(_models, project)
        ),
        champion=Champion(project),
        arms=ArmService(project.stores),
        host=host,
        dagster_url=dagster_url,
    )
    hosts = known_hosts(host, project.settings.web.public_url)
    app = FastAPI(
        title="Flywheel",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        lifespan=_lifespan,
        # The limit stands below the headers, so that its answers carry them.
        middleware=[
            Middleware(Guard, hosts=hosts),
            Middleware(BodyLimit, is_known=partial(comes_in, web)),
        ],
        form_limits={"max_part_size": MAX_BODY_BYTES, "max_fields": MAX_FORM_FIELDS},
        # What a trace says is nobody else's to collect.
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    app.state.web = web
    app.state.warming = None
    handle_faults(app)
    for router in ROUTERS:
        app.include_router(router)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    ledger = app.state.web.stores.ledger
    await run_in_threadpool(_warm_up, app.state.web)
    if app.state.web.project.settings.retrieval.warm_up:
        # Beside it, so that reviewers do not wait for what applications need.
        warm_up = app.state.web.examples.warm_up
        app.state.warming = Thread(target=warm_up, name="warm-up", daemon=True)
        app.state.warming.start()
    yield
    await run_in_threadpool(app.state.web.examples.close)
    await run_in_threadpool(app.state.web.arms.close)
    await run_in_threadpool(ledger.close)


def _models(project: Project) -> Models:
    settings = project.settings
    embedder = load_embedder(settings.judge.embedder, settings.compute.threads)
    # What else is left out of a turn for a judge is no matter to an application.
    return light_embedder(embedder), InputLevers(strip_markers=tuple(settings.judge.strip_markers))


def _warm_up(web: Web) -> None:
    """Bring the ledger up to date before anybody asks, and hash once before a stranger does."""
    with web.stores.ledger.read():
        pass
    nobodys_hash()
