"""How a page is made and how a form leads on: what every endpoint with a page returns.

A template's name and its context in, an HTML answer out; the one idea is that what stands on every
page is added here, and that text of any kind can be sent.
"""

from urllib.parse import urlencode

from fastapi import Request
from fastapi.responses import HTMLResponse, RedirectResponse

from flywheel.safety import encodable
from flywheel.web.access import Actor, Permission
from flywheel.web.context import web_of


def page(
    request: Request, actor: Actor | None, template: str, status: int = 200, /, **context: object
) -> HTMLResponse:
    """The template as a page, with `context` and what stands on every page.

    That is `actor` and `may(permission)`, `csrf` (the token that each form carries), `path`,
    `project_name`, and `dagster_url`, which is empty where the orchestrator does not run.
    """
    web = web_of(request)

    def may(permission: Permission) -> bool:
        return actor is not None and actor.may(permission)

    html = web.templates.get_template(template).render(
        actor=actor,
        csrf=actor.csrf if actor else "",
        may=may,
        path=request.url.path,
        project_name=web.project.settings.project.name,
        dagster_url=web.dagster_url,
        **context,
    )
    return HTMLResponse(encodable(html), status)


def see_other(path: str, query: str = "", **more: str) -> RedirectResponse:
    """Lead on from a form to one of our pages; `more` is added to the query string."""
    queries = [part for part in (query, urlencode(more)) if part]
    return RedirectResponse(path + ("?" if queries else "") + "&".join(queries), 303)


def sentence_of(words: str) -> str:
    """What an error says, as a sentence on a page."""
    return f"{words[:1].upper()}{words[1:].removesuffix('.')}." if words else ""


def local_path(asked: str) -> str:
    """A path of ours that somebody asked to be led to; `/` where it leads anywhere else.

    Browsers read a backslash as a slash and leave out control characters.
    """
    is_ours = asked.startswith("/") and not asked.startswith("//")
    return asked if is_ours and "\\" not in asked and asked.isprintable() else "/"
