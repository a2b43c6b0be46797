"""A day's traces through the judges in use: each application's by the champion of its target.

Traces and few-shot rows in, `scores` and `score_runs` out. The one idea is that a day is read judge
by judge, so that an adapter is put to work once a day and not once a trace, and that what all of
them said is put in force together.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import TypeVar

from flywheel.judge.cache import Progress as Progress
from flywheel.judge.judge import Judge
from flywheel.judge.prompted import PromptedJudge
from flywheel.judge.reading import DayReading, TierProgress, asks
from flywheel.judge.score_rows import DayRun, write_runs
from flywheel.records import JUDGE_TARGET, Tier
from flywheel.store import Stores
from flywheel.traces.applications import EVERY, Applications

__all__ = ["AppJudge", "JudgeReport", "Progress", "TierProgress", "asks", "score_day"]

_Key = TypeVar("_Key", bound=str)
_Number = TypeVar("_Number", int, float)


@dataclass(frozen=True, slots=True)
class AppJudge:
    """A judge in use, and the applications whose traces it reads.

    `generative` reads what it leaves open; `missing` is why there is none where one is wanted.
    `targets` are those whose champion it is.
    """

    judge: Judge
    applications: Applications = EVERY
    generative: PromptedJudge | None = None
    missing: str = ""
    targets: tuple[str, ...] = (JUDGE_TARGET,)


@dataclass(frozen=True, slots=True)
class JudgeReport:
    """What the judges did with one day, and the day's traces that they could not judge.

    `judge_version` and `tier`, the best of the fitted ones, are of the judge of all applications
    without one of their own; `by_target` has the version for each target with a judge of its own,
    and `shadows` what the shadow of a target did, in a sentence.
    `decided` is the share of the eligible traces on which a tier has the last word, of those with
    certified thresholds. `flagged` are traces with an error by the last tier that read them.
    `failed` and `generative` are of the generative judge, and `why_failed` is the first reason.
    `cost_usd` is what the rows cost when they were made.
    """

    day: date
    judge_version: str
    tier: Tier
    attempted: int
    scored: dict[Tier, int]
    skipped: dict[str, int]
    from_cache: int
    flagged: int
    decided: dict[Tier, float] = field(default_factory=dict)
    failed: dict[str, int] = field(default_factory=dict)
    why_failed: str = ""
    generative: dict[str, int] = field(default_factory=dict)
    cost_usd: dict[Tier, float] = field(default_factory=dict)
    by_target: dict[str, str] = field(default_factory=dict)
    shadows: dict[str, str] = field(default_factory=dict)


def no_progress(done: int, total: int) -> None:
    """Nobody is watching."""


def no_tier_progress(tier: Tier, done: int, total: int) -> None:
    """Nobody is watching the tiers."""


def score_day(
    stores: Stores,
    judge: Judge,
    day: date,
    progress: TierProgress = no_tier_progress,
    generative: PromptedJudge | None = None,
    limit: int = 200,
    usd_per_cpu_hour: float = 0.0,
    missing: str = "",
) -> JudgeReport:
    """Score the day's traces with one judge, whatever their application; as `score_apps` does."""
    judges = [AppJudge(judge, generative=generative, missing=missing)]
    return score_apps(stores, judges, day, progress, limit, usd_per_cpu_hour)


def score_apps(
    stores: Stores,
    judges: Sequence[AppJudge],
    day: date,
    progress: TierProgress = no_tier_progress,
    limit: int = 200,
    usd_per_cpu_hour: float = 0.0,
) -> JudgeReport:
    """Score the day's traces, each by the judge of its application, with the tiers that read it.

    The first tier reads all eligible traces, `judge.best` those of the sample that the first does
    not decide, and `generative` of all judges together `limit` of what is open then: those whose
    probability is nearest .5, or a uniform draw where it has thresholds, which hold for that alone.
    Without certified thresholds nothing is decided; those of `generative` hold after the judge that
    they were certified after, and no other. Replaces only the rows of this day and these versions,
    all at once. The warehouse is open to read a page and to write, and closed while models work. A
    generative judge that cannot be asked fails its traces, and not the day; nor does one that could
    not be had in the first place, for the reason `missing`.

    The applications of `judges` are disjoint, and one of them has the rest.
    """
    parts = [_Part(stores, each, day, progress, usd_per_cpu_hour) for each in judges]
    # Those without a trace have no run that could be in force.
    parts = [part for part in parts if part.is_needed]
    shares = _shares(limit, [len(part.reading.open) for part in parts])
    for part, share in zip(parts, shares, strict=True):
        part.ask(share)
    with stores.warehouse.read() as connection:
        index_versions = connection.rows("judge/index_versions_of_day", day=day)
    index_version = str(index_versions[0][0]) if index_versions else None
    write_runs(stores, day, [part.run for part in parts], index_version)
    return _report(day, parts)


def _shares(limit: int, n_open: Sequence[int]) -> list[int]:
    """What each may ask of a limit for all: in proportion to what it has left open."""
    total = sum(n_open)
    if total <= limit:
        return list(n_open)
    exact = [limit * n / total for n in n_open]
    shares = [int(x) for x in exact]
    largest = sorted(range(len(exact)), key=lambda i: (shares[i] - exact[i], i))
    for i in largest[: limit - sum(shares)]:
        shares[i] += 1
    return shares


class _Part:
    """A judge's part of a day; its fitted tiers have read it once it stands."""

    def __init__(
        self,
        stores: Stores,
        of: AppJudge,
        day: date,
        progress: TierProgress,
        usd_per_cpu_hour: float,
    ):
        self.of = of
        self.reading = DayReading(
            stores, of.judge, day, progress, usd_per_cpu_hour, of.applications
        )
        self.made = self.reading.read()
        self.generative = of.generative.after(of.judge.version) if of.generative else None

    @property
    def is_needed(self) -> bool:
        """Whether it had anything to read, or has to say that there was nothing."""
        return self.reading.attempted > 0 or self.of.applications.is_rest

    @property
    def version(self) -> str:
        """The judge version of the run, without a tier."""
        own = self.of.judge.version
        return own if self.generative is None else f"{own}+{self.generative.version}"

    @property
    def run(self) -> DayRun:
        """What is to be written."""
        return DayRun(self.version, self.reading.attempted, self.made)

    @property
    def certified(self) -> list[Tier]:
        """The tiers with certified thresholds."""
        found = [] if self.of.judge.cascade is None else list(self.of.judge.models)
        if self.generative is not None and self.generative.thresholds is not None:
            found.append(self.generative.tier)
        return found

    def ask(self, limit: int) -> None:
        """Let the generative judge read what is open; `limit` traces."""
        if self.generative is not None:
            self.made.append(self.reading.ask(self.generative, limit))
        elif self.of.missing:
            self.reading.go_without(self.of.missing, limit)


def _report(day: date, parts: Sequence[_Part]) -> JudgeReport:
    """What was done, of all judges together."""
    rest = next(part for part in parts if part.of.applications.is_rest)
    readings = [part.reading for part in parts]
    n = max(1, sum(reading.eligible for reading in readings))
    every = [(part, rows) for part in parts for rows in part.made]
    return JudgeReport(
        day=day,
        judge_version=rest.version,
        tier=rest.of.judge.best,
        attempted=sum(reading.attempted for reading in readings),
        scored=_sum({rows.tier: rows.scored} for _, rows in every),
        skipped=_sum(reading.ineligible for reading in readings),
        from_cache=sum(reading.from_cache for reading in readings),
        flagged=sum(
            reading.flagged + sum(p >= 0.5 for p in reading.open.values()) for reading in readings
        ),
        decided={
            tier: count / n
            for tier, count in _sum(
                {rows.tier: rows.decided} for part, rows in every if rows.tier in part.certified
            ).items()
        },
        failed=_sum(part.reading.failed or part.made[-1].failed for part in parts),
        why_failed=next((r.why_failed for r in readings if r.why_failed), ""),
        generative=_sum(reading.generative for reading in readings),
        cost_usd=_sum({rows.tier: rows.cost_usd} for _, rows in every),
        by_target={
            target: part.version for part in parts if part is not rest for target in part.of.targets
        },
    )


def _sum(counts: Iterable[Mapping[_Key, _Number]]) -> dict[_Key, _Number]:
    """Counts of several, by name."""
    total: dict[_Key, _Number] = {}
    for each in counts:
        for name, n in each.items():
            total[name] = total[name] + n if name in total else n
    return total
