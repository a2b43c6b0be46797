"""Cards as files: Markdown for people, JSON for programs.

A card in, text out. What names of applications and words of people hold cannot become markup: each
is one line, without what Markdown or a table would read as its own.
"""

import json
import math
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from flywheel.records import Interval
from flywheel.registry.card import EvaluationCard, card_of
from flywheel.registry.findings import Finding
from flywheel.safety import visible
from flywheel.store import Stores
from flywheel.store.artifacts import sync_folder

KIND = "cards"
MARKDOWN, JSON = "CARD.md", "card.json"
_MARKUP = re.compile(r"([\\`*_{}\[\]<>#|~!])")


def card_json(card: EvaluationCard) -> str:
    """The card as one JSON object; null for what is not a number, times in ISO form."""
    return json.dumps(_plain(asdict(card)), indent=2, ensure_ascii=False, default=str) + "\n"


def card_markdown(card: EvaluationCard) -> str:
    """The card as Markdown."""
    return "\n".join(_lines(card)) + "\n"


def write_card_files(card: EvaluationCard, folder: Path) -> None:
    """Write both into a folder, each whole or not at all."""
    for name, text in ((MARKDOWN, card_markdown(card)), (JSON, card_json(card))):
        new = folder / f".{name}.{os.getpid()}.new"
        new.write_text(text, encoding="utf-8")
        os.replace(new, folder / name)


def keep_card(stores: Stores, target: str, name: str) -> Path:
    """Keep the card of a version, or of an alias, among the artifacts as it is now; its folder.

    Raises NotFound.
    """
    card = card_of(stores, target, name)
    folder = stores.artifacts.root / KIND / card.version
    folder.mkdir(parents=True, exist_ok=True)
    write_card_files(card, folder)
    sync_folder(folder)
    return folder


def interval_said(interval: Interval | None, is_signed: bool = False) -> str:
    """An interval in words; a dash for what is not known."""
    if interval is None or math.isnan(interval.estimate):
        return "–"
    form = "+.3f" if is_signed else ".3f"
    if math.isnan(interval.low):
        return f"{interval.estimate:{form}}"
    return f"{interval.estimate:{form}} [{interval.low:{form}}, {interval.high:{form}}]"


def p_said(p: float | None) -> str:
    """A p-value in words; a dash where nothing was tested."""
    if p is None:
        return "–"
    return f"{p:.4f}" if p >= 0.0001 else "< 0.0001"


def _lines(card: EvaluationCard) -> Iterator[str]:
    yield f"# {_safe(card.target)} / {_safe(card.version)}"
    yield f"\n{_safe(card.what, keep='`')}\n"
    yield from _table(("What", "Is"), _identity(card))
    yield "\n## Limits\n"
    yield from (f"- {_safe(limit, keep='`')}" for limit in card.limits)
    yield "\n## What made it\n"
    yield from _table(("Part", "Decisions"), [(part, f"{n:,}") for part, n in card.learnt.items()])
    yield "\n## Training\n"
    yield from _table(("What", "Is"), [*card.facts.items(), *_prefixed(card)])
    for finding in card.findings:
        yield from _finding(finding)
    yield "\n## Moves\n"
    yield from _table(
        ("When, UTC", "Who", "What", "Alias", "From", "To", "Why"),
        [
            (
                *(f"{m.happened_at:%Y-%m-%d %H:%M}", m.actor, m.action, m.alias),
                *(m.previous or "–", m.version or "–", m.why),
            )
            for m in card.moves
        ],
    )


def _identity(card: EvaluationCard) -> list[tuple[str, object]]:
    known: list[tuple[str, object]] = [
        ("Made", f"{card.created_at:%Y-%m-%d %H:%M} UTC"),
        ("Aliases", ", ".join(card.aliases) or "none"),
        ("Champion now", card.champion or "none"),
        ("Parent", card.parent or "none"),
        ("Base", card.base or "none"),
        ("Training set", card.training_set or "none"),
        ("Decisions considered", f"{card.considered:,}"),
    ]
    if card.adapter:
        modules = [
            name if n is None else f"{name} {n:,}" for name, n in card.adapter.modules.items()
        ]
        known += [
            ("Rank, alpha", f"{card.adapter.rank}, {card.adapter.alpha:g}"),
            ("Modules (trainable numbers)", ", ".join(modules)),
            ("Arm", card.adapter.arm or "–"),
            ("Tag of a good answer", card.adapter.tag or "none"),
            ("Hash of the base's weights", card.adapter.base_hash or "–"),
            ("Hash of the prompt", card.adapter.prompt_hash or "–"),
            ("Hash of the tokenizer", card.adapter.tokenizer_hash or "–"),
        ]
    return known


def _prefixed(card: EvaluationCard) -> list[tuple[str, object]]:
    return [(f"setting: {name}", value) for name, value in card.settings.items()]


def _finding(finding: Finding) -> Iterator[str]:
    day = f"{finding.decided_at:%Y-%m-%d %H:%M}"
    yield f"\n## Gate: {finding.outcome}, against {_safe(finding.champion)}, {day} UTC\n"
    yield from (f"- {_safe(why)}" for why in finding.why)
    yield ""
    yield from _table(("Count", "Is"), list(finding.counts.items()))
    tested = [(d.name, interval_said(d.interval, True), p_said(d.p)) for d in finding.differences]
    yield from _table(("Challenger minus champion", "95 % interval", "p"), tested)
    rates = [
        (r.name, interval_said(r.champion), interval_said(r.challenger)) for r in finding.rates
    ]
    yield from _table(("Rate", "Champion", "Challenger"), rates)
    yield from _table(
        ("Suite", "State", "Groups", "Won", "Lost", "Worse by at most"),
        [
            (s.name, s.state, s.n, s.wins, s.losses, f"{s.worse_by or 0:.1%}" if s.n else "–")
            for s in finding.suites
        ],
    )
    yield from _table(
        ("Slice", "Of", "Labels", "Won", "Lost", "Difference", "p of harm, after Holm"),
        [
            (
                *(s.name, s.kind.replace("_", " "), s.n, s.wins, s.losses),
                *(interval_said(s.difference, True), p_said(s.harm_p)),
            )
            for s in finding.slices
        ],
    )


def _table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Iterator[str]:
    """A table in Markdown with an empty line after it; a word where it would be empty."""
    lines = list(rows)
    if not lines:
        return
    yield f"| {' | '.join(columns)} |"
    yield f"|{'---|' * len(columns)}"
    yield from (f"| {' | '.join(_safe(str(value)) for value in line)} |" for line in lines)
    yield ""


def _safe(text: str, keep: str = "") -> str:
    """The text on one line, in which nothing is markup but what is kept."""
    line = " ".join(visible(text).split())
    return _MARKUP.sub(lambda found: found[0] if found[0] in keep else f"\\{found[0]}", line)


def _plain(value: object) -> object:
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return None if isinstance(value, float) and math.isnan(value) else value
