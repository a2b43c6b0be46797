"""The judge, tier by tier, and a whole day of traces through the lexical one: traces a second.

    python -m tests.bench.bench_judge [N]

Prints one JSON line a figure. Budget: >= 20,000 traces/s for the lexical tier. Conversations are in
memory and become verdicts; the day counts everything, from the warehouse and back to it. `N` seeded
traces (50,000), of three words a turn to eighty, 2.2 reactions a trace; real conversations are the
label files in `FLYWHEEL_BENCH_DATA` where it is set. The encoder tiers read texts that they have
never seen.
"""

import os
import random
import sys
import tempfile
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import pyarrow as pa

from flywheel.judge.cold_start import cold_start_judge
from flywheel.judge.judge import Judge
from flywheel.judge.scoring import score_day
from flywheel.models.embedder import Embedder
from flywheel.records import Conversation, Tier, Turn
from flywheel.settings import TrainingSettings
from flywheel.store import Stores, open_project
from flywheel.traces.conversations import InputLevers
from flywheel.traces.labelled import read_conversations
from flywheel.training.fit import fit_judge
from tests.bench.machine import report, spent
from tests.made_up import made_up

DAY = date(2026, 3, 2)
LEVERS = InputLevers()
BUDGET = 20_000
N_DAY, N_ENCODED, N_LABELLED = 20_000, 300, 80
THINGS = ("hotel", "restaurant", "train", "taxi", "museum", "invoice", "refund", "parcel", "ticket")
PLACES = ("north", "south", "east", "west", "centre", "Cambridge", "Ely", "Norwich", "Leeds")
ASKED = (
    "I need a {thing} in the {place} for {n} people.",
    "can you find me a cheap {thing} near {place}?",
    "My {thing} from {place} was due {n} days ago and it has not come yet, order {n}{n}4. I have "
    "written twice already and would like to know what is going on, and when it will be here.",
)
ANSWERED = (
    "Sure, what price range would you like?",
    "I'm sorry, there is no {thing} in the {place} before {n}:15.",
    "I have {n} of them in the {place}. The first one has free parking, shall I book the {thing}?",
    "Your {thing} is booked for {n}:15. The reference number is {n}7X{n}Q. It is in the {place}, "
    "ten minutes on foot from the station, and breakfast is included. You may cancel it free of "
    "charge until the evening before; after that the first night is due. The desk is open all day "
    "and keeps luggage, and there is a bus to the {place} every {n} minutes from the door. Is "
    "there anything else that I can help you with today?",
)
REACTED = (
    "Thanks, that is all I need.",
    "No, I said {n}, not the day before.",
    "yes please, for {n} people",
    "That's wrong. I asked for a {thing} in the {place}, can you check again?",
    "ok great! what about a {thing} then?",
    "Perfect. I also need a {thing} in the {place} leaving after {n}:15 on the same day, please.",
)
LOADED = {
    **{"is_current": True, "is_eligible": True, "started_at_source": "trace"},
    **{"import_id": 1, "line_no": 1},
}


def drawn(n: int, seed: int = 0) -> list[Conversation]:
    """`n` seeded conversations from the templates."""
    rng = random.Random(seed)
    return [_one(rng, i) for i in range(n)]


def _one(rng: random.Random, number: int) -> Conversation:
    forms = [ASKED, ANSWERED, REACTED, *[ANSWERED, REACTED] * rng.choice((0, 1, 1, 3))]
    turns = tuple(
        Turn(
            position,
            "assistant" if form is ANSWERED else "user",
            rng.choice(form).format(
                thing=rng.choice(THINGS), place=rng.choice(PLACES), n=rng.randint(2, 60)
            ),
        )
        for position, form in enumerate(forms)
    )
    return Conversation(f"t{number}", f"h{number}", turns, f"s{number // 2}", "shop")


def measure(judge: Judge, tier: Tier, name: str, conversations: Sequence[Conversation]) -> None:
    """Verdicts on the conversations, and what they cost: in the median pass of three, or the one.

    A pass of the lexical tier reads a small set again and again; the encoders remember what they
    have embedded, so that reading again would cost nothing.
    """
    is_cheap = tier == "lexical"
    rounds = max(1, 20_000 // len(conversations)) if is_cheap else 1
    texts = [turn.text for c in conversations for turn in c.turns]
    judge.opinions(conversations[:1], tier)
    passes = []
    for _ in range(3 if is_cheap else 1):
        with spent() as cost:
            for _ in range(rounds):
                verdicts = judge.verdicts(conversations, judge.opinions(conversations, tier), tier)
        assert len(verdicts) == len(conversations)
        passes.append(cost)
    cost = sorted(passes, key=lambda one: one.cpu_s)[len(passes) // 2]
    report(
        "judge",
        tier=tier,
        kind="cold start" if judge.models[tier].version.startswith("proto") else "fitted",
        conversations=name,
        traces=len(conversations),
        turns_a_trace=round(len(texts) / len(conversations), 1),
        characters_a_trace=round(sum(map(len, texts)) / len(conversations)),
        traces_per_s=round(rounds * len(conversations) / cost.wall_s),
        traces_per_cpu_s=round(rounds * len(conversations) / cost.cpu_s),
        budget=BUDGET if is_cheap else None,
        wall_s=cost.wall_s,
        cpu_s=cost.cpu_s,
        peak_rss_mb=cost.peak_rss_mb,
    )


def store(stores: Stores, conversations: Sequence[Conversation]) -> None:
    """Put the conversations into the warehouse as one day's traces."""
    traces, messages = [], []
    for c in conversations:
        key = {"day": DAY, "trace_id": c.trace_id, "content_hash": c.content_hash}
        about = {"app": c.app, "session_id": c.session_id, "n_messages": len(c.turns)}
        traces.append(key | about | LOADED)
        messages += [
            key | {"position": turn.position, "role": turn.role, "content": turn.text}
            for turn in c.turns
        ]
    with stores.warehouse.open() as connection, connection.transaction():
        for table, rows in (("traces", traces), ("messages", messages)):
            with connection.given(new_rows=pa.Table.from_pylist(rows)):
                connection.raw.execute(f"insert into {table} by name select * from new_rows")


def measure_day(judge: Judge, conversations: Sequence[Conversation]) -> None:
    """A day through the lexical tier alone, from the warehouse and back to it."""
    models, calibrations = judge.models, judge.calibrations
    lexical = Judge(
        {"lexical": models["lexical"]}, {"lexical": calibrations["lexical"]}, LEVERS, "lexical"
    )
    with tempfile.TemporaryDirectory(prefix="flywheel-bench-") as folder:
        stores = open_project(Path(folder)).stores
        with stores.ledger.begin():
            store(stores, conversations)
        with spent() as cost:
            done = score_day(stores, lexical, DAY)
        stores.ledger.close()
    assert done.scored == {"lexical": len(conversations)}
    report(
        "judge",
        stage="a day, read and written",
        tier="lexical",
        traces=len(conversations),
        traces_per_s=round(len(conversations) / cost.wall_s),
        traces_per_cpu_s=round(len(conversations) / cost.cpu_s),
        wall_s=cost.wall_s,
        cpu_s=cost.cpu_s,
        peak_rss_mb=cost.peak_rss_mb,
    )


def main(n: int) -> None:
    """Fit a small judge, and let each of its tiers read."""
    judge, _ = fit_judge(
        made_up(N_LABELLED, n_rounds=2), [], Embedder(), LEVERS, TrainingSettings(epochs=1)
    )
    cold = cold_start_judge(Embedder(), LEVERS)
    sets = {"made up": drawn(n)}
    if folder := os.environ.get("FLYWHEEL_BENCH_DATA"):
        files = sorted((Path(folder) / "labels").glob("*.jsonl"))
        real = [c for file in files for c in read_conversations(file, LEVERS).conversations]
        sets["real"] = [c for c in real if c.is_eligible]
    for name, conversations in sets.items():
        for tried in (judge, cold):
            measure(tried, "lexical", name, conversations)
    measure_day(judge, sets["made up"][:N_DAY])
    for name, conversations in sets.items():
        for tier in ("frozen", "lora"):
            # Other conversations for each tier: what is embedded once is remembered.
            start = N_ENCODED * (tier == "lora")
            measure(judge, tier, name, conversations[start : start + N_ENCODED])


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 50_000)
