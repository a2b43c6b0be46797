"""A panel's votes: asked of its members, and kept in the ledger the moment each is there.

Conversations in, rows of `panel_votes` out; the one idea is that a vote is never asked for twice,
whoever was killed in between. A reply that cannot be read is a vote for neither side, and is kept,
since it was paid for; a call that failed is none, and is made again.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field

import sqlalchemy as sa

from flywheel.errors import FlywheelError
from flywheel.judge.judge import Opinion
from flywheel.judge.panel_prompts import Vote, second_prompt, second_version
from flywheel.judge.prompted import PromptedJudge, Unjudged, opinion_in
from flywheel.records import Conversation
from flywheel.store.ledger import Ledger, now
from flywheel.store.tables import panel_votes

# A version of a trace: its id and the hash of its content.
Version = tuple[str, str]
# Of a version of a trace and a judge's version, the vote.
Votes = Mapping[Version, Mapping[str, Vote]]

# Replies that were paid for and will not be better the next time. What was too long was not sent,
# and a judge may be given more tokens.
_NULL_VOTES = ("unparsed", "refused")
_IN_LIMIT = 5_000


@dataclass(slots=True)
class Polling:
    """What asking came to: votes that are new, what they cost, and calls without one, by why."""

    votes: int = 0
    unreadable: int = 0
    cost_usd: float = 0.0
    unfinished: Counter[str] = field(default_factory=Counter)

    def of(self, said: Iterator[Vote | Unjudged]) -> Iterator[Vote | Unjudged]:
        """What a member says, up to where it cannot be asked any more: one unfinished call."""
        try:
            yield from said
        except FlywheelError as error:
            self.unfinished[str(error)] += 1

    def count(self, said: Vote | Unjudged) -> None:
        """Count what a member said, or why it said nothing."""
        self.cost_usd += said.cost_usd
        if isinstance(said, Unjudged):
            self.unfinished[said.kind] += 1
            return
        self.votes += 1
        self.unreadable += said.perceived_error is None


def version_of(conversation: Conversation) -> Version:
    """Which version of which trace it is."""
    return conversation.trace_id, conversation.content_hash


def votes_on(ledger: Ledger, round_: int, versions: Sequence[Version]) -> Votes:
    """The votes of a round that were ever cast on these versions."""
    found: defaultdict[Version, dict[str, Vote]] = defaultdict(dict)
    wanted, trace_ids = set(versions), sorted({trace_id for trace_id, _ in versions})
    of_round = sa.select(panel_votes).where(panel_votes.c.round == round_)
    with ledger.read() as connection:
        for start in range(0, len(trace_ids), _IN_LIMIT):
            part = panel_votes.c.trace_id.in_(trace_ids[start : start + _IN_LIMIT])
            for row in connection.execute(of_round.where(part)):
                version = row.trace_id, row.content_hash
                if version in wanted:
                    found[version][row.judge_version] = Vote(
                        row.member,
                        row.judge_version,
                        row.perceived_error,
                        row.reason_code,
                        row.reason or "",
                        row.cost_usd,
                    )
    return found


def ask_first(
    ledger: Ledger, judge: PromptedJudge, conversations: Sequence[Conversation], known: Votes
) -> Iterator[Vote | Unjudged]:
    """Ask a member of the first panel about every trace that it has not voted on yet."""
    version = judge.opinion_version
    missing = [c for c in conversations if version not in known.get(version_of(c), {})]
    for index, opinion in judge.opinions(missing, [()] * len(missing)):
        yield _keep(ledger, 1, judge.name, version, missing[index], opinion)


def ask_second(
    ledger: Ledger,
    judge: PromptedJudge,
    first: Sequence[PromptedJudge],
    disputed: Sequence[tuple[Conversation, Sequence[Vote]]],
    known: Votes,
) -> Iterator[Vote | Unjudged]:
    """Ask a member of the second panel who was right, about every trace it has not settled yet."""
    version = second_version(judge, first)
    missing = [
        (conversation, votes)
        for conversation, votes in disputed
        if version not in known.get(version_of(conversation), {})
    ]
    prompts = [second_prompt(judge.rubric, conversation, votes) for conversation, votes in missing]
    for index, answer in judge.model.answers(prompts):
        conversation = missing[index][0]
        opinion = opinion_in(answer, conversation, judge.rubric)
        yield _keep(ledger, 2, judge.name, version, conversation, opinion)


def _keep(
    ledger: Ledger,
    round_: int,
    member: str,
    judge_version: str,
    conversation: Conversation,
    opinion: Opinion | Unjudged,
) -> Vote | Unjudged:
    if isinstance(opinion, Unjudged) and opinion.kind not in _NULL_VOTES:
        return opinion
    vote = _vote(member, judge_version, opinion)
    trace_id, content_hash = version_of(conversation)
    row = asdict(vote) | {"trace_id": trace_id, "content_hash": content_hash, "round": round_}
    try:
        with ledger.begin() as connection:
            connection.execute(panel_votes.insert(), row | {"voted_at": now()})
    except sa.exc.IntegrityError:
        # Another run asked the same meanwhile; its vote stands.
        kept = votes_on(ledger, round_, [(trace_id, content_hash)])
        return kept[trace_id, content_hash][judge_version]
    return vote


def _vote(member: str, judge_version: str, opinion: Opinion | Unjudged) -> Vote:
    if isinstance(opinion, Unjudged):
        why = f"{opinion.kind}: {opinion.why}"
        return Vote(member, judge_version, None, None, why, opinion.cost_usd)
    # Its own word: a calibration is of how often it is right, and no vote.
    is_error = opinion.logit > 0
    code = opinion.code_if_error if is_error else opinion.code_if_fine
    return Vote(member, judge_version, is_error, code, opinion.reason, opinion.cost_usd)
