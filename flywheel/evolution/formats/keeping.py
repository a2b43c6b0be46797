"""Approved formats: a file for rows, and the project's settings for the text of traces.

A proposal in, `formats/rows.toml` written, or two settings under `[judge]` of `flywheel.toml`.
"""

import json
import re
import tomllib
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from flywheel.errors import BadInput, Refused
from flywheel.evolution.formats.writing import FORMATS
from flywheel.evolution.kept_files import check_kept, read_kept, write_kept
from flywheel.evolution.proposals import Proposal
from flywheel.models.writer import faults_of
from flywheel.settings import PROJECT_FILE
from flywheel.store import Project

ROWS_FILE = "rows.toml"
# What rows are written as where nobody has chosen: it takes any rows.
DEFAULT = "json"
# The settings that a proposal may change, of [judge].
LEVERS = ("include_tool_calls", "max_message_chars")


class Certificate(BaseModel):
    """On what a format was chosen: both formats on the same cases, and by whom they were read."""

    model_config = ConfigDict(extra="forbid")

    model: str
    present: str
    cases: int = Field(ge=1)
    wins: int = Field(ge=0)
    losses: int = Field(ge=0)
    worse_by_at_most: float
    margin: float
    alpha: float
    tokens: float
    tokens_before: float
    tokens_are: str
    shape: str
    seed: int
    prompt_version: int


class RowFormat(BaseModel):
    """How rows are shown to a model, and why."""

    model_config = ConfigDict(extra="forbid")

    format: str
    certificate: Certificate | None = None


class FormatKeeper:
    """The proposal's subject is `rows.toml`, or the settings' own file."""

    def check(self, project: Project, proposal: Proposal, text: str | None) -> None:
        """Raise BadInput where the text is no such file, Refused where the file has changed."""
        if proposal.draft.subject == PROJECT_FILE:
            _check_levers(project, proposal.draft.before, text)
            check_levers_alone("", text or "[judge]")
            return
        check_kept(format_path(project, proposal.draft.subject), proposal.draft.before, text)
        if text is not None:
            read_choice(text)

    def apply(self, project: Project, proposal: Proposal, text: str | None) -> None:
        """Write or remove the file; of the settings' own, change these two."""
        _put(project, proposal.draft.subject, proposal.draft.before, text)

    def undo(self, project: Project, proposal: Proposal) -> None:
        """Put the file, or the two settings, back as it was."""
        _put(project, proposal.draft.subject, proposal.text, proposal.draft.before)


def _put(project: Project, subject: str, before: str | None, text: str | None) -> None:
    path = format_path(project, subject)
    if subject != PROJECT_FILE:
        check_kept(path, before, text)
        write_kept(path, text)
        return
    _check_levers(project, before, text)
    write_kept(path, with_levers(read_kept(path) or "", text))


def _check_levers(project: Project, *expected: str | None) -> None:
    """Raise Refused where the two settings are neither of those expected."""
    now = levers_in(read_kept(format_path(project, PROJECT_FILE)))
    if now not in [levers_in(text) for text in expected]:
        raise Refused(
            f"the settings of {PROJECT_FILE} were changed after the proposal was made; propose it "
            "again against the file as it is now"
        )


def format_path(project: Project, subject: str) -> Path:
    """The file of a subject; raises BadInput where it is none of the two."""
    if subject == PROJECT_FILE:
        return project.folder / PROJECT_FILE
    if subject == ROWS_FILE:
        return project.folder / "formats" / ROWS_FILE
    raise BadInput(f"{subject!r} is no file of a format; it is {ROWS_FILE} or {PROJECT_FILE}")


def row_format(project: Project) -> str:
    """The format that rows are shown in; JSON on one line where nobody has chosen."""
    text = read_kept(format_path(project, ROWS_FILE))
    return DEFAULT if text is None else read_choice(text).format


def read_choice(text: str) -> RowFormat:
    """The choice of a file's text; raises BadInput on what is none."""
    try:
        chosen = RowFormat.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise BadInput(f"{ROWS_FILE} is no TOML: {error}") from error
    except ValidationError as error:
        raise BadInput(f"{ROWS_FILE}: {faults_of(error)}") from error
    if chosen.format not in FORMATS:
        raise BadInput(f"there is no format {chosen.format!r}; known: {', '.join(FORMATS)}")
    return chosen


def levers_in(text: str | None) -> str | None:
    """The two settings that a text of settings has, as a text of their own; None where it has none.

    The rest of the file is none of a proposal's business: it may hold what only its owner may read.
    Raises BadInput where it is no TOML.
    """
    try:
        judge = tomllib.loads(text or "").get("judge", {})
    except tomllib.TOMLDecodeError as error:
        raise BadInput(f"{PROJECT_FILE} is no TOML: {error}") from error
    given = judge if isinstance(judge, dict) else {}
    lines = [f"{name} = {json.dumps(given[name])}\n" for name in LEVERS if name in given]
    return "".join(["[judge]\n", *lines]) if lines else None


def levers_text(include_tool_calls: bool, max_message_chars: int) -> str:
    """The two settings as a text of their own."""
    values = (json.dumps(include_tool_calls), str(max_message_chars))
    lines = [f"{name} = {value}\n" for name, value in zip(LEVERS, values, strict=True)]
    return "".join(["[judge]\n", *lines])


def with_levers(text: str, levers: str | None) -> str:
    """The text of `flywheel.toml` with these two settings under `[judge]`, all else as it is.

    One that `levers` has not is taken out. Raises BadInput where the file is written in a way that
    no line of it can be changed alone.
    """
    wanted = tomllib.loads(levers or "").get("judge", {})
    lines = text.split("\n")
    start = next((i for i, line in enumerate(lines) if _head(line) == "[judge]"), None)
    if start is None and wanted:
        lines = (
            [*text.rstrip("\n").split("\n"), "", "[judge]", ""] if text.strip() else ["[judge]", ""]
        )
        start = lines.index("[judge]")
    for name in LEVERS if start is not None else ():
        _set(lines, start or 0, name, wanted.get(name))
    made = "\n".join(lines)
    check_levers_alone(text, made)
    return made


def _set(lines: list[str], start: int, name: str, value: bool | int | None) -> None:
    """Change, add or take out one setting of the table whose head is at `start`."""
    heads = (i for i in range(start + 1, len(lines)) if _head(lines[i]).startswith("["))
    end = next(heads, len(lines))
    at = next((i for i in range(start + 1, end) if _key(lines[i]) == name), None)
    if at is None:
        lines[start + 1 : start + 1] = [] if value is None else [f"{name} = {json.dumps(value)}"]
    elif value is None:
        del lines[at]
    else:
        # What is said behind it stays.
        lines[at] = re.sub(r"(=\s*)[^#\s]+", rf"\g<1>{json.dumps(value)}", lines[at], count=1)


def check_levers_alone(before: str, after: str) -> None:
    """Raise BadInput unless the second text is the settings of the first but for these two."""
    try:
        was, now = tomllib.loads(before), tomllib.loads(after)
    except tomllib.TOMLDecodeError as error:
        raise BadInput(f"{PROJECT_FILE} would be no TOML: {error}") from error
    for settings in (was, now):
        judge = settings.get("judge", {})
        left = {k: v for k, v in judge.items() if k not in LEVERS} if isinstance(judge, dict) else 0
        settings["judge"] = left
    given = tomllib.loads(after).get("judge", {})
    if was != now or not isinstance(given, dict):
        raise BadInput(
            f"a format may change {' and '.join(LEVERS)} under [judge] of {PROJECT_FILE} and "
            "nothing else; make other changes in the file itself"
        )
    calls, longest = given.get(LEVERS[0], False), given.get(LEVERS[1], 0)
    if not isinstance(calls, bool) or type(longest) is not int or longest < 0:
        raise BadInput(f"{LEVERS[0]} is true or false, and {LEVERS[1]} is 0 or more")


def _head(line: str) -> str:
    """The head of a table that a line is, without spaces and what is said behind it."""
    return line.split("#")[0].replace(" ", "").replace("\t", "").strip()


def _key(line: str) -> str:
    return line.split("=")[0].strip() if "=" in line else ""
