"""Functions: what agents may call, each version that ever was, and the form that goes back to one.

The ledger in, pages and downloads out; a form in, the live version moved. The one idea is that a
person reads the code, its tests and who moved what on one page.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Annotated

from fastapi import APIRouter, Depends, Form, Request
from fastapi import Path as InPath
from fastapi.responses import RedirectResponse, Response
from markupsafe import Markup
from pydantic import JsonValue

from flywheel.errors import BadInput, NotFound
from flywheel.evolution.functions.arguments import read_schema
from flywheel.evolution.functions.export import as_module, as_tools
from flywheel.evolution.functions.store import (
    FunctionVersion,
    list_functions,
    list_moves,
    live_records,
    roll_back,
)
from flywheel.store.ledger import record_action
from flywheel.web.access import Actor, may
from flywheel.web.context import web_of
from flywheel.web.markdown import markdown
from flywheel.web.pages import page, see_other
from flywheel.web.traces_view import trace_href

router = APIRouter()

Manager = Annotated[Actor, Depends(may("manage"))]
Promoter = Annotated[Actor, Depends(may("promote"))]
Name = Annotated[str, InPath(max_length=64)]
_FORMS = {"tools.json": (as_tools, "application/json"), "tools.py": (as_module, "text/x-python")}


@router.get("/functions")
def show_functions(request: Request, actor: Manager) -> Response:
    """Every function by name: what it does, which version is live, and how many there are."""
    of_name: dict[str, list[FunctionVersion]] = {}
    for one in list_functions(web_of(request).stores.ledger):
        of_name.setdefault(one.record.name, []).append(one)
    shown = [(_shown(versions), len(versions)) for versions in of_name.values()]
    return page(request, actor, "functions.html", shown=shown)


@router.get("/functions/{name}")
def show_function(request: Request, actor: Manager, name: Name) -> Response:
    """One function: its code and tests, its versions, and who moved what.

    Under tools.json and tools.py stand the live ones, for other programs.
    """
    ledger = web_of(request).stores.ledger
    if name in _FORMS:
        return _download(request, actor, name)
    versions = list_functions(ledger, name)
    if not versions:
        known = {one.record.name for one in list_functions(ledger)}
        raise NotFound("function", name, sorted(known))
    shown = _shown(versions)
    return page(
        request,
        actor,
        "function.html",
        shown=shown,
        code=_laid_out(shown.record.code),
        arguments=_arguments(shown.record.parameters),
        tests=[(_json(test.arguments), _json(test.returns)) for test in shown.record.tests],
        versions=versions,
        moves=list_moves(ledger, name),
        trace_href=trace_href,
    )


@router.post("/functions/{name}/live")
def make_live(
    request: Request,
    actor: Promoter,
    name: Name,
    version: Annotated[str, Form(max_length=64)] = "",
    why: Annotated[str, Form(max_length=2_000)] = "",
) -> RedirectResponse:
    """Let agents call a version that was kept, with the reason."""
    if not why.strip():
        raise BadInput("say why in a few words: it stands in the audit log")
    roll_back(web_of(request).stores.ledger, name, version, actor.name, why.strip())
    return see_other(f"/functions/{name}")


def _shown(versions: Sequence[FunctionVersion]) -> FunctionVersion:
    """The live version, or the newest where none is."""
    return next((one for one in versions if one.is_live), versions[0])


def _laid_out(code: str) -> Markup:
    # A fence that the code does not end.
    fence = "`" * (1 + max(map(len, re.findall("`+", code)), default=2))
    return markdown(f"{fence}python\n{code.rstrip()}\n{fence}")


def _arguments(parameters: Mapping[str, JsonValue]) -> list[tuple[str, str, str]]:
    """Name, type and meaning of each argument."""
    shape = read_schema(parameters)
    return [
        (
            name,
            " or ".join(one.types) + ("" if name in shape.required else ", optional"),
            one.description,
        )
        for name, one in shape.properties.items()
    ]


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _download(request: Request, actor: Actor, file: str) -> Response:
    ledger = web_of(request).stores.ledger
    written, media = _FORMS[file]
    live = live_records(ledger)
    versions = {name: record.version for name, record in live.items()}
    with ledger.begin() as connection:
        record_action(connection, actor.name, "export", "functions", format=file, versions=versions)
    disposition = {"Content-Disposition": f'attachment; filename="{file}"'}
    return Response(written(live.values()), media_type=media, headers=disposition)
