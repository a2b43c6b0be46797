"""The verdict cache: opinions that cost minutes or money, in the ledger once they are known.

Opinions in, and out again for the same text, judge and few-shots; a run that was killed pays for
nothing twice. A reply that was paid for and could not be used is kept as well.
"""

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from flywheel.errors import FlywheelError
from flywheel.judge.judge import Judge, Opinion
from flywheel.judge.prompted import Example, PromptedJudge, Unjudged
from flywheel.judge.prompts import few_shot_key
from flywheel.models.engine import CPU_TIME
from flywheel.records import Conversation, Tier
from flywheel.store.ledger import Ledger, now
from flywheel.store.tables import verdict_cache

# Conversations between two commits to the verdict cache: what a kill may cost.
CHUNK = 64
# Bound variables of one statement; SQLite allows 32,766.
_IN_LIMIT = 10_000

Progress = Callable[[int, int], None]
# What an opinion is of: the hash of a conversation's text, and the key of the few-shots shown.
Asked = tuple[str, str]


def input_hash(conversation: Conversation) -> str:
    """Names what a judge reads of the conversation."""
    digest = hashlib.sha256()
    for turn in conversation.turns:
        digest.update(
            f"{turn.position}\x1f{turn.role}\x1f{turn.text}\x1e".encode("utf-8", "replace")
        )
    return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class VerdictCache:
    """The opinions that the ledger keeps."""

    ledger: Ledger

    def read(self, version: str, asked: Sequence[Asked]) -> dict[Asked, Opinion | Unjudged]:
        """What is known under this version of opinions of what is asked."""
        wanted, hashes = set(asked), sorted({text for text, _ in asked})
        columns = (verdict_cache.c.input_hash, verdict_cache.c.few_shot_key)
        known: dict[Asked, Opinion | Unjudged] = {}
        with self.ledger.read() as connection:
            for start in range(0, len(hashes), _IN_LIMIT):
                rows = connection.execute(
                    sa.select(*columns, verdict_cache.c.verdict).where(
                        verdict_cache.c.judge_version == version,
                        verdict_cache.c.input_hash.in_(hashes[start : start + _IN_LIMIT]),
                    )
                )
                known |= {
                    (text, key): _opinion_of(verdict)
                    for text, key, verdict in rows
                    if (text, key) in wanted
                }
        return known

    def add(
        self,
        version: str,
        opinions: Mapping[Asked, Opinion | Unjudged],
        latency_ms: float | None = None,
    ) -> None:
        """Keep opinions; `latency_ms` is that of each, where it does not know its own."""
        if not opinions:
            return
        rows = [
            {
                "input_hash": text,
                "judge_version": version,
                "few_shot_key": key,
                "verdict": json.dumps(asdict(opinion)),
                "latency_ms": getattr(opinion, "latency_ms", None) or latency_ms or 0.0,
                "cost_usd": opinion.cost_usd,
                "judged_at": now(),
            }
            for (text, key), opinion in opinions.items()
        ]
        with self.ledger.begin() as connection:
            insert = (postgresql if connection.dialect.name == "postgresql" else sqlite).insert
            # Another run may have judged the same text meanwhile; what is there stays.
            connection.execute(insert(verdict_cache).on_conflict_do_nothing(), rows)


def _opinion_of(text: str) -> Opinion | Unjudged:
    values = json.loads(text)
    return Unjudged(**values) if "kind" in values else Opinion(**values)


def fitted_opinions(
    cache: VerdictCache,
    judge: Judge,
    tier: Tier,
    conversations: Sequence[Conversation],
    progress: Progress,
    usd_per_cpu_hour: float = 0.0,
) -> tuple[list[Opinion | None], int]:
    """A fitted tier's opinion of each conversation, and how many were known before.

    What an opinion cost is the CPU time of all threads that read its chunk, in this process and in
    others, shared equally and at the price of an hour; memory, disk and waiting are not in it.
    """
    version = judge.models[tier].version
    # Opinions of fitted tiers do not depend on few-shots.
    asked = [(input_hash(c), "") for c in conversations]
    known = cache.read(version, asked)
    # Like lengths together, so that little of a batch is padding.
    missing = sorted(
        (i for i, one in enumerate(asked) if one not in known),
        key=lambda i: sum(len(t.text) for t in conversations[i].turns),
    )
    chunks = [missing[start : start + CHUNK] for start in range(0, len(missing), CHUNK)]
    done = 0
    with judge.reading(([conversations[i] for i in rows] for rows in chunks), tier):
        for rows in chunks:
            began, cpu = time.perf_counter(), CPU_TIME.seconds()
            opinions = judge.opinions([conversations[i] for i in rows], tier)
            each_ms = (time.perf_counter() - began) * 1000 / len(rows)
            each_usd = (CPU_TIME.seconds() - cpu) / 3600 * usd_per_cpu_hour / len(rows)
            fresh = {
                asked[i]: replace(opinion, cost_usd=each_usd, latency_ms=each_ms)
                for i, opinion in zip(rows, opinions, strict=True)
                if opinion is not None
            }
            cache.add(version, fresh, each_ms)
            known |= fresh
            done += len(rows)
            progress(done, len(missing))
    found = (known.get(one) for one in asked)
    given = [opinion if isinstance(opinion, Opinion) else None for opinion in found]
    return given, len(conversations) - len(missing)


def generative_opinions(
    cache: VerdictCache,
    judge: PromptedJudge,
    conversations: Sequence[Conversation],
    shown: Sequence[Sequence[Example]],
    progress: Progress,
) -> tuple[list[Opinion | Unjudged], int]:
    """A generative judge's opinion of each conversation, and how many were known before.

    Each is kept the moment it is there. What failed or was not sent is asked again the next time;
    a refusal, or a reply that could not be read, was paid for, and is not. Where the model cannot
    be asked at all, what is open has failed, and what is known stands.
    """
    version = judge.opinion_version
    asked = [
        (input_hash(c), few_shot_key(e.correction_id for e in examples[: judge.few_shots]))
        for c, examples in zip(conversations, shown, strict=True)
    ]
    known = cache.read(version, asked)
    # The same text twice is asked once.
    missing = list({one: i for i, one in enumerate(asked) if one not in known}.values())
    replies = judge.opinions([conversations[i] for i in missing], [shown[i] for i in missing])
    unanswered = Unjudged("failed", "the model gave no answer")
    try:
        for done, (index, opinion) in enumerate(replies, start=1):
            one = asked[missing[index]]
            known[one] = opinion
            if isinstance(opinion, Opinion) or opinion.kind in ("unparsed", "refused"):
                cache.add(version, {one: opinion})
            progress(done, len(missing))
    except FlywheelError as error:
        unanswered = Unjudged("failed", str(error))
    return [known.get(one, unanswered) for one in asked], len(conversations) - len(missing)
