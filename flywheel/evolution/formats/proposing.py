"""Formats of rows as proposals: the cheapest that a model reads no worse, with its certificate.

A project in, a draft of `formats/rows.toml` out; a person approves it.
"""

import json
from dataclasses import dataclass

from flywheel.errors import BadInput, NotEnough
from flywheel.evolution.cases.dimensions import Plan, folder_of, plan_named
from flywheel.evolution.cases.proposing import source_of
from flywheel.evolution.evidence import Check, Evidence, Figure
from flywheel.evolution.formats.choosing import ALPHA, MARGIN, Choice, choose
from flywheel.evolution.formats.choosing import Compared as ComparedArm
from flywheel.evolution.formats.keeping import (
    ROWS_FILE,
    Certificate,
    format_path,
    read_choice,
    row_format,
)
from flywheel.evolution.formats.measuring import (
    PROMPT_VERSION,
    Measured,
    Progress,
    TokenCount,
    left_out_of,
    measure,
    plan_of_shape,
    row_cases,
)
from flywheel.evolution.kept_files import read_kept
from flywheel.evolution.proposals import Draft, Proposal, propose
from flywheel.models.chat import ChatModel
from flywheel.records import Interval
from flywheel.store import Project


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which rows, and how many cases: `shape` is a structure of made-up rows, or empty where
    `dimensions` names a file of a project's own.
    """

    shape: str = "flat"
    dimensions: str = ""
    cases: int = 200
    seed: int = 0
    tokenizer: str = ""


@dataclass(frozen=True, slots=True)
class Compared:
    """What was measured and chosen; `proposal` is None where nothing changes."""

    choice: Choice
    measured: Measured
    evidence: Evidence
    proposal: Proposal | None


def propose_row_format(
    project: Project,
    model: ChatModel,
    wanted: Wanted,
    tokens_of: TokenCount | None = None,
    *,
    is_dry: bool = False,
    progress: Progress = lambda done, total: None,
) -> Compared:
    """Compare every eligible format with the present one, and propose the cheapest that holds.

    Raises BadInput where the present one is not eligible for these rows, and NotEnough where no
    case was answered.
    """
    plan = _plan(project, wanted)
    cases = row_cases(source_of(project, plan), plan, wanted.cases, wanted.seed)
    present = row_format(project)
    measured = measure(model, cases, tokens_of, progress)
    if why := measured.ineligible.get(present):
        raise BadInput(f"these rows cannot be written as {present}, the present format: {why}")
    by_name = {arm.name: arm for arm in measured.arms}
    n = len(by_name[present].right)
    if not n:
        raise NotEnough("cases that were answered in every format", 0, 1)
    others = [arm for arm in measured.arms if arm.name != present]
    choice = choose(by_name[present], others, [str(i) for i in range(n)])
    evidence = _evidence(choice, measured, tokens_of is not None)
    proposal = None
    if choice.chosen != present and not is_dry:
        by = f"{model.name} ({model.version})"
        draft = _draft(project, choice, evidence, _certificate(choice, wanted, by, tokens_of))
        proposal = propose(project.stores.ledger, draft, "flywheel evolution formats")
    return Compared(choice, measured, evidence, proposal)


def _plan(project: Project, wanted: Wanted) -> Plan:
    if not wanted.dimensions:
        return plan_of_shape(wanted.shape)
    plan = plan_named(folder_of(project.folder), wanted.dimensions)
    if plan.rows is None and len(plan.dimensions.get("structure", ())) > 1:
        raise BadInput(
            f"{plan.name}.toml makes rows of several structures, and a format is eligible by one; "
            "choose it with --shape"
        )
    return plan


def _draft(project: Project, choice: Choice, evidence: Evidence, certificate: Certificate) -> Draft:
    before = read_kept(format_path(project, ROWS_FILE))
    return Draft(
        kind="format",
        subject=ROWS_FILE,
        change="redefine" if before else "add",
        before=before,
        after=_written(choice.chosen, certificate),
        why=f"{choice.why}.",
        evidence=evidence,
    )


def _certificate(
    choice: Choice, wanted: Wanted, by: str, tokens_of: TokenCount | None
) -> Certificate:
    arm, present = choice.arm, next(one for one in choice.arms if one.name == choice.present)
    counted = f"of the rows, by {wanted.tokenizer}" if tokens_of else "of the prompt, by the server"
    return Certificate(
        model=by,
        present=choice.present,
        cases=choice.n,
        wins=arm.wins,
        losses=arm.losses,
        worse_by_at_most=round(arm.loss_bound, 6),
        margin=MARGIN,
        alpha=ALPHA,
        tokens=round(arm.tokens.estimate, 3),
        tokens_before=round(present.tokens.estimate, 3),
        tokens_are=counted,
        shape=wanted.dimensions or wanted.shape,
        seed=wanted.seed,
        prompt_version=PROMPT_VERSION,
    )


def _written(name: str, certificate: Certificate) -> str:
    """The file; a JSON string, number or truth is one of TOML as well."""
    lines = [f"{key} = {json.dumps(value)}" for key, value in certificate.model_dump().items()]
    text = "\n".join(
        [
            "# How rows are shown to a model, and on what it was chosen.",
            f"format = {json.dumps(name)}",
            "",
            "[certificate]",
            *lines,
            "",
        ]
    )
    read_choice(text)
    return text


def _evidence(choice: Choice, measured: Measured, is_by_tokenizer: bool) -> Evidence:
    return Evidence(
        f"{choice.why}.",
        figures_of(choice),
        checks_of(choice),
        (
            *others_said(choice),
            *(f"Not eligible: {name}, {why}." for name, why in measured.ineligible.items()),
            *(f"{name}: {n} replies were no JSON of ids." for name, n in measured.unparsed.items()),
            *left_out_of(measured.left_out),
            "Tokens are those of the rows alone."
            if is_by_tokenizer
            else "Tokens are those of the whole prompt, as the server counts them.",
        ),
    )


def figures_of(choice: Choice) -> tuple[Figure, ...]:
    """Accuracy and tokens of every arm beside those of the present one, and what it may lose."""
    present = next(one for one in choice.arms if one.name == choice.present)
    figures: list[Figure] = []
    for arm in choice.arms:
        right, tokens = f"{arm.name}: right", f"{arm.name}: tokens of a case"
        if arm is present:
            figures.append(Figure(right, arm.accuracy, None, choice.n))
            figures.append(Figure(tokens, arm.tokens, None, choice.n, "number"))
            continue
        loss = (arm.losses - arm.wins) / choice.groups
        bounds = Interval(loss, -arm.gain_bound, arm.loss_bound)
        figures += [
            Figure(right, arm.accuracy, present.accuracy, choice.n),
            Figure(tokens, arm.tokens, present.tokens, choice.n, "number"),
            Figure(f"{arm.name}: loss against {present.name}", bounds, None, choice.groups),
        ]
    return tuple(figures)


def checks_of(choice: Choice) -> tuple[Check, ...]:
    """That the chosen arm is no worse, where another than the present one is chosen."""
    if choice.chosen == choice.present:
        return ()
    return (Check(f"{choice.chosen} is no worse", True, said_of(choice.arm, choice)),)


def others_said(choice: Choice) -> list[str]:
    """A sentence of each arm that is neither the present nor the chosen one."""
    return [
        f"{arm.name}: {arm.state}, {said_of(arm, choice)}."
        for arm in choice.arms
        if arm.name not in (choice.present, choice.chosen)
    ]


def said_of(arm: ComparedArm, choice: Choice) -> str:
    """What an arm showed, for people."""
    said = f"{arm.wins} won, {arm.losses} lost of {choice.groups}; p = {arm.p:.3g}"
    return said if not arm.needed else f"{said}; {arm.needed} in all would show it"
