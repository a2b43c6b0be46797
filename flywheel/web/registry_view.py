"""What the pages of the registry show: targets, what waits for a person, and cards made readable.

Versions, verdicts and lineage of the ledger in, what templates need out. The one idea is that a
person decides by the intervals: each is drawn on one scale beside its numbers.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import quote, urlencode

from flywheel.records import JUDGE_TARGET, Interval
from flywheel.registry import (
    CHALLENGER,
    CHAMPION,
    SHADOW,
    AliasMove,
    EvaluationCard,
    Finding,
    Version,
    history,
    known_targets,
    list_versions,
    predecessor,
    targets_of_versions,
)
from flywheel.settings import Settings
from flywheel.store.ledger import Ledger

# Versions and moves of a target that the list of targets shows.
VERSIONS_SHOWN, MOVES_SHOWN = 20, 10
# A drawing's width and height, in its own units.
_WIDTH, _MIDDLE = 160.0, 80.0
# An interval that reaches further is cut at the edge.
_LEAST_SCALE = 0.05
_NO_VERDICT = ("never at the gate", "")
_VERDICTS = {"passed": "badge-good", "refused": "badge-bad", "thin": "badge-warn"}


@dataclass(frozen=True, slots=True)
class VersionRow:
    """A version in a list, with the gate's last word and the class of its badge."""

    version: Version
    gate: str
    badge: str

    @property
    def href(self) -> str:
        """Its page."""
        return version_href(self.version.target, self.version.version)


@dataclass(frozen=True, slots=True)
class TargetView:
    """A target: who carries its aliases, what waits, its versions and moves, newest first."""

    name: str
    kind: str
    champion: Version | None
    challenger: Version | None
    shadow: Version | None
    is_waiting: bool
    n_versions: int
    rows: tuple[VersionRow, ...]
    moves: tuple[AliasMove, ...]


@dataclass(frozen=True, slots=True)
class Drawn:
    """An interval on a scale around 0: where its line begins and ends, and where the dot is."""

    low: float
    high: float
    at: float
    said: str


@dataclass(frozen=True, slots=True)
class Deciding:
    """What may be done with a version now; `back_to` is the champion that a rollback brings.

    It is empty where there is none after it, None where a rollback would be refused.
    """

    is_champion: bool
    is_waiting: bool
    is_shadow: bool
    passed: bool
    why_not: str
    back_to: str | None


def targets_view(ledger: Ledger, settings: Settings) -> list[TargetView]:
    """Every target of the settings and of the registry; those that wait for a person first."""
    names = dict.fromkeys([JUDGE_TARGET, *settings.targets, *known_targets(ledger)])
    views = [_target(ledger, name, settings) for name in names]
    return sorted(views, key=lambda view: not view.is_waiting)


def _target(ledger: Ledger, name: str, settings: Settings) -> TargetView:
    versions = list_versions(ledger, name)
    carrier = {alias: version for version in versions for alias in version.aliases}
    champion, challenger = carrier.get(CHAMPION), carrier.get(CHALLENGER)
    configured = settings.targets.get(name)
    moves = [move for move in history(ledger, name) if move.alias != CHALLENGER]
    return TargetView(
        name=name,
        kind=configured.kind if configured else ("judge" if name == JUDGE_TARGET else ""),
        champion=champion,
        challenger=challenger,
        shadow=carrier.get(SHADOW),
        is_waiting=challenger is not None and is_waiting(challenger, champion),
        n_versions=len(versions),
        rows=tuple(VersionRow(v, *_said_of(v)) for v in versions[:VERSIONS_SHOWN]),
        moves=tuple(moves[: -MOVES_SHOWN - 1 : -1]),
    )


def is_waiting(challenger: Version, champion: Version | None) -> bool:
    """Whether the challenger passed against the champion of now, and a person has to approve."""
    verdict = challenger.verdict
    if verdict is None or not verdict.passed or challenger == champion:
        return False
    return champion is None or verdict.champion == champion.version


def _said_of(version: Version) -> tuple[str, str]:
    verdict = version.verdict
    if verdict is None:
        return _NO_VERDICT
    refused = "thin" if verdict.rule == "thin" else "refused"
    said = "passed" if verdict.passed else refused
    return said, _VERDICTS[said]


def deciding(ledger: Ledger, card: EvaluationCard) -> Deciding:
    """What a person may do with the version of a card, and why it may not be promoted as it is."""
    last = card.findings[0] if card.findings else None
    is_champion = CHAMPION in card.aliases
    passed = bool(last and last.outcome == "passed" and last.champion == card.champion)
    # The first of its target needs no verdict, but none may have refused it.
    is_free = card.champion is None and (last is None or last.outcome == "passed")
    return Deciding(
        is_champion=is_champion,
        is_waiting=passed and not is_champion,
        is_shadow=SHADOW in card.aliases,
        passed=passed or is_free,
        why_not=_why_not(last, card.champion),
        back_to=predecessor(ledger, card.target) if is_champion else None,
    )


def _why_not(last: Finding | None, champion: str | None) -> str:
    if last is None:
        return "It has not been through the gate."
    if champion is not None and last.champion != champion:
        return f"The gate compared it with {last.champion}, and the champion is now {champion}."
    return "The evidence is thin." if last.outcome == "thin" else "The gate refused it."


def scale_of(findings: Iterable[Finding]) -> float:
    """How far from 0 the differences of all findings reach, at most 1."""
    reached: list[float] = [
        abs(bound)
        for finding in findings
        for interval in (
            *(difference.interval for difference in finding.differences),
            *(part.difference for part in finding.slices),
        )
        for bound in (interval.low, interval.high, interval.estimate)
        if not math.isnan(bound)
    ]
    return min(1.0, max(_LEAST_SCALE, *reached, _LEAST_SCALE))


def drawn(interval: Interval, scale: float) -> Drawn | None:
    """Where an interval lies in a drawing of 160 by 16 whose middle is 0; None where it is none."""
    if any(math.isnan(bound) for bound in (interval.estimate, interval.low, interval.high)):
        return None

    def place(value: float) -> float:
        return round(_MIDDLE + max(-1.0, min(1.0, value / scale)) * (_WIDTH / 2 - 5), 1)

    said = f"{interval.estimate:+.3f}, from {interval.low:+.3f} to {interval.high:+.3f}"
    return Drawn(place(interval.low), place(interval.high), place(interval.estimate), said)


def version_href(target: str, version: str) -> str:
    """The page of a version."""
    return f"/registry/{quote(target, safe='')}/{quote(version, safe='')}"


def hrefs_of(ledger: Ledger, card: EvaluationCard) -> Mapping[str, str]:
    """The pages of the versions that a card names, by their names, of those that are known.

    An application's first judge comes after one of another target, that of all applications.
    """
    names = {*(finding.champion for finding in card.findings), *filter(None, [card.parent])}
    found = targets_of_versions(ledger, sorted(names))
    return {version: version_href(target, version) for version, target in found.items()}


def lineage_href(**asked: object) -> str:
    """The page of lineage, of a version or of a decision."""
    return f"/registry/lineage?{urlencode({key: str(value) for key, value in asked.items()})}"


def named_settings(card: EvaluationCard) -> Mapping[str, object]:
    """The facts of a training and its settings in one table."""
    return {**card.facts, **{f"setting: {name}": value for name, value in card.settings.items()}}
