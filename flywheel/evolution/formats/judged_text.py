"""The text of traces as a judge is given it: tool calls in or out, long messages whole or cut.

Labelled traces in, a draft of two settings out. The one idea is that what is chosen on the labels
that may be learnt from is reported on the holdout, which had no part in the choice.
"""

from collections.abc import Sequence
from dataclasses import replace

from flywheel.errors import BadSetting, NotEnough
from flywheel.evolution.evidence import Evidence, Figure
from flywheel.evolution.formats.choosing import Arm, Choice, choose
from flywheel.evolution.formats.keeping import format_path, levers_in, levers_text
from flywheel.evolution.formats.measuring import Measured, Progress
from flywheel.evolution.formats.proposing import (
    Compared,
    checks_of,
    figures_of,
    others_said,
)
from flywheel.evolution.kept_files import read_kept
from flywheel.evolution.proposals import Draft, propose
from flywheel.gate.holdout import holdout_of
from flywheel.in_use import levers_of
from flywheel.judge.cache import VerdictCache, generative_opinions
from flywheel.judge.configured import configured_judge
from flywheel.judge.judge import Opinion
from flywheel.judge.prompted import PromptedJudge, Unjudged
from flywheel.records import LabelledConversation
from flywheel.settings import PROJECT_FILE
from flywheel.store import Project, Stores
from flywheel.traces.conversations import InputLevers, read_traces

# Of a server, and not of a format.
_NOBODYS_FAULT = ("failed", "budget")


def propose_judged_text(
    project: Project,
    longest: int,
    *,
    is_dry: bool = False,
    progress: Progress = lambda done, total: None,
) -> Compared:
    """Let the generative judge read the same labelled traces in four ways, and propose the cheapest
    that is no worse than the present one.

    `longest` is what a cut message has, in characters. Raises BadSetting where `judge.generative`
    names none, and NotEnough where nothing is labelled outside the holdout.
    """
    present = levers_of(project)
    judge = configured_judge(project, levers=present)
    if judge is None:
        raise BadSetting(
            "judge.generative names no judge whose tokens could be saved; name one of [judges.NAME]"
        )
    judge, ways = replace(judge, few_shots=0), _ways(present, longest)
    read = {name: _labelled(project.stores, way, False) for name, way in ways.items()}
    same = _same_as_earlier(read)
    distinct = {name: rows for name, rows in read.items() if name not in same}
    arms, groups, left_out = _arms(project.stores, judge, ways, distinct, progress)
    names = list(arms)
    choice = choose(arms[names[0]], [arms[name] for name in names[1:]], groups)
    measured = Measured(tuple(arms.values()), same, left_out, {})
    held, held_left = _on_holdout(project.stores, judge, ways, choice, progress)
    evidence = _evidence(choice, held, same, left_out | held_left)
    if choice.chosen == choice.present or is_dry:
        return Compared(choice, measured, evidence, None)
    draft = _draft(project, choice, evidence, ways[choice.chosen])
    proposal = propose(project.stores.ledger, draft, "flywheel evolution formats")
    return Compared(choice, measured, evidence, proposal)


def _ways(present: InputLevers, longest: int) -> dict[str, InputLevers]:
    """The present way first, and the others by what they are, what changes less before the rest."""
    found = {_name(present): present}
    for with_tools in (present.include_tool_calls, not present.include_tool_calls):
        for limit in (0, longest):
            way = replace(present, include_tool_calls=with_tools, max_message_chars=limit)
            found.setdefault(_name(way), way)
    return found


def _name(levers: InputLevers) -> str:
    tools = "with tool calls" if levers.include_tool_calls else "without tool calls"
    limit = levers.max_message_chars
    return f"{tools}, {f'messages cut to {limit}' if limit else 'messages whole'}"


def _arms(
    stores: Stores,
    judge: PromptedJudge,
    ways: dict[str, InputLevers],
    read: dict[str, list[LabelledConversation]],
    progress: Progress,
) -> tuple[dict[str, Arm], list[str], dict[str, int]]:
    """An arm a way on the same traces, and the group of each; a user's traces are one group."""
    shared = set.intersection(
        *({row.conversation.trace_id for row in rows} for rows in read.values())
    )
    if not shared:
        raise NotEnough("labelled traces to compare on", 0, 1)
    opinions = {
        name: _opinions(stores, replace(judge, levers=ways[name]), rows, shared, progress)
        for name, rows in read.items()
    }
    answered = [
        trace_id
        for trace_id in sorted(shared)
        if not any(_is_nobodys_fault(of_way[trace_id][1]) for of_way in opinions.values())
    ]
    if not answered:
        raise NotEnough("labelled traces that were answered in every way", 0, 1)
    arms = {
        name: _arm(name, [of_way[one] for one in answered]) for name, of_way in opinions.items()
    }
    first = next(iter(opinions.values()))
    left = len(shared) - len(answered)
    return (
        arms,
        [first[one][0].group for one in answered],
        {"a way got no answer": left} if left else {},
    )


def _same_as_earlier(read: dict[str, list[LabelledConversation]]) -> dict[str, str]:
    """Ways that give the very text of an earlier one, which need not be asked about."""
    texts = {
        name: [(row.conversation.trace_id, row.conversation.turns) for row in rows]
        for name, rows in read.items()
    }
    names, found = list(read), dict[str, str]()
    for place, name in enumerate(names):
        earlier = next((one for one in names[:place] if texts[one] == texts[name]), None)
        if earlier is not None:
            found[name] = f"it is the very text of {earlier}"
    return found


_Read = tuple[LabelledConversation, Opinion | Unjudged]


def _opinions(
    stores: Stores,
    judge: PromptedJudge,
    rows: Sequence[LabelledConversation],
    shared: set[str],
    progress: Progress,
) -> dict[str, _Read]:
    """What the judge says of each trace; what it has said before is not paid for again."""
    asked = [row for row in rows if row.conversation.trace_id in shared]
    cache = VerdictCache(stores.ledger)
    conversations = [row.conversation for row in asked]
    opinions, _ = generative_opinions(cache, judge, conversations, [()] * len(asked), progress)
    return {
        row.conversation.trace_id: (row, opinion)
        for row, opinion in zip(asked, opinions, strict=True)
    }


def _is_nobodys_fault(opinion: Opinion | Unjudged) -> bool:
    return isinstance(opinion, Unjudged) and opinion.kind in _NOBODYS_FAULT


def _arm(name: str, read: Sequence[_Read]) -> Arm:
    right = tuple(
        isinstance(opinion, Opinion) and (opinion.logit >= 0) == row.perceived_error
        for row, opinion in read
    )
    return Arm(name, tuple(float(opinion.prompt_tokens) for _, opinion in read), right)


def _labelled(stores: Stores, levers: InputLevers, is_holdout: bool) -> list[LabelledConversation]:
    """What people labelled, on this side of the holdout, as this way reads it."""
    if is_holdout:
        return holdout_of(stores, levers)
    with stores.warehouse.read() as connection:
        rows = connection.table("training/labels_to_train_on", apps=[]).to_pylist()
        labels = {row["trace_id"]: row for row in rows if row["source"] != "panel"}
        found = read_traces(connection, labels, levers)
    return [
        LabelledConversation(one, label["perceived_error"], label["user_id"] or label["session_id"])
        for one in found
        if one.is_eligible and (label := labels[one.trace_id])
    ]


def _on_holdout(
    stores: Stores,
    judge: PromptedJudge,
    ways: dict[str, InputLevers],
    choice: Choice,
    progress: Progress,
) -> tuple[Choice | None, dict[str, int]]:
    """The chosen and the present way on the holdout; None where nothing is chosen or labelled."""
    if choice.chosen == choice.present:
        return None, {}
    both = {name: ways[name] for name in (choice.present, choice.chosen)}
    try:
        read = {name: _labelled(stores, way, True) for name, way in both.items()}
        arms, groups, left_out = _arms(stores, judge, both, read, progress)
    except NotEnough:
        return None, {"the holdout has no labels": 1}
    return choose(arms[choice.present], [arms[choice.chosen]], groups), left_out


def _evidence(
    choice: Choice, held: Choice | None, same: dict[str, str], left_out: dict[str, int]
) -> Evidence:
    figures = figures_of(choice)
    if held:
        figures += tuple(
            Figure(f"holdout, {one.name}", one.after, one.before, one.n, one.unit)
            for one in figures_of(held)
        )
    return Evidence(
        f"{choice.why}.",
        figures,
        checks_of(choice),
        (
            *others_said(choice),
            *(f"Not asked about: {name}, {why}." for name, why in same.items()),
            *(f"Left out: {n} ({why})." for why, n in left_out.items()),
            "Chosen on labels outside the holdout; what the holdout says had no part in it.",
            "Measured of the generative judge, without few-shots. Fitted judges take the settings "
            "over when they are trained the next time.",
        ),
    )


def _draft(project: Project, choice: Choice, evidence: Evidence, way: InputLevers) -> Draft:
    before = levers_in(read_kept(format_path(project, PROJECT_FILE)))
    return Draft(
        kind="format",
        subject=PROJECT_FILE,
        change="redefine",
        before=before,
        after=levers_text(way.include_tool_calls, way.max_message_chars),
        why=f"{choice.why}.",
        evidence=evidence,
    )
