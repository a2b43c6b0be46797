"""Whether there is a sandbox here, for the doctor: found out by running something in it."""

from collections.abc import Iterator
from typing import Literal

from flywheel.evolution.sandbox.running import run_code
from flywheel.evolution.sandbox.walls import NoSandbox
from flywheel.store import Project

# Name, state, sentence, remedy: a finding of the doctor, whose words stand further right.
Found = tuple[str, Literal["ok", "warning"], str, str]


def sandbox_standing(project: Project) -> Iterator[Found]:
    """What became of a function that does nothing; none where no model writes functions."""
    if not project.settings.evolution.model:
        return
    try:
        ran = run_code("def answer():\n    return True\n", "answer", {})
    except NoSandbox as error:
        remedy = "install bubblewrap, and let this user make user namespaces"
        yield "sandbox", "warning", str(error), remedy
        return
    if ran.is_good:
        yield "sandbox", "ok", f"a function ran in it, in {1000 * ran.seconds:.0f} ms", ""
    else:
        yield "sandbox", "warning", f"the sandbox ran nothing: {ran.error}", "look again"
