"""Formats once a week, where a project asks for it: rows as its model reads them by now.

A project in, what was chosen out, or a sentence that says why nothing was.
"""

from flywheel.errors import FlywheelError
from flywheel.evolution.formats.proposing import Compared, Wanted, propose_row_format
from flywheel.evolution.formats.tokens import counter_of
from flywheel.models.writer import endpoint_of
from flywheel.store import Project


def compare_formats_or_why(project: Project) -> Compared | str:
    """Compare the formats of flat rows on `evolution.format_cases` questions."""
    wanted = project.settings.evolution
    if not wanted.format_cases:
        return (
            "evolution.format_cases is 0: formats are compared by the command alone, "
            "flywheel evolution formats rows."
        )
    try:
        model = endpoint_of(project.settings, project.stores.ledger)
        tokens_of = counter_of(wanted.tokenizer) if wanted.tokenizer else None
        cases = Wanted(cases=wanted.format_cases, tokenizer=wanted.tokenizer)
        return propose_row_format(project, model, cases, tokens_of)
    except FlywheelError as error:
        return f"Formats were not compared: {error}."
