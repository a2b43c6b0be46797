"""The evaluation card: all that is known of a version, in one record for people and programs.

A version, its files, its verdicts, its lineage and its moves in, an `EvaluationCard` out. The one
idea is that a card is made of what is stored and claims nothing else: what was not measured stands
among its limits.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from flywheel.errors import BadArtifact, BadInput, NotFound
from flywheel.models.adapter_card import AdapterCard, read_card
from flywheel.registry.findings import Finding, findings_of
from flywheel.registry.folders import folder_of
from flywheel.registry.lineage import count_lineage
from flywheel.registry.moves import AliasMove, history
from flywheel.registry.prompts import OTHER_PROMPT
from flywheel.registry.versions import CHAMPION, Version, alias_of, find_version
from flywheel.store import Stores

_ADAPTER_FILE = "adapter_config.json"
# Keys of a manifest that are lists of ids, or shown elsewhere.
_LISTS = ("corrections", "considered", "fit", "settings", "base", "training_set", "parent")
# Of a list in a fit report; a longer one is for programs.
_LISTED = 8


@dataclass(frozen=True, slots=True)
class Adapter:
    """What the LoRA files of a version say; `modules` are names, or numbers trained by name."""

    rank: int
    alpha: float
    modules: Mapping[str, int | None]
    arm: str
    tag: str
    base_hash: str
    prompt_hash: str
    tokenizer_hash: str


@dataclass(frozen=True, slots=True)
class EvaluationCard:
    """A version: what it is, what it was made from, what the gate saw of it, and its limits.

    `facts` are the counts and choices of its training by name, `learnt` the decisions that made it
    by the part of the data, `considered` how many decisions stood when it was made.
    """

    version: str
    target: str
    what: str
    created_at: datetime
    aliases: tuple[str, ...]
    champion: str | None
    parent: str | None
    base: str
    training_set: str
    considered: int
    learnt: Mapping[str, int]
    adapter: Adapter | None
    facts: Mapping[str, object]
    settings: Mapping[str, object]
    findings: tuple[Finding, ...]
    moves: tuple[AliasMove, ...]
    limits: tuple[str, ...]


def card_of(stores: Stores, target: str, name: str, prompt: str = "") -> EvaluationCard:
    """The card of a version, or of the carrier of an alias. Raises NotFound.

    `prompt` names what a causal judge is asked with now; empty is not known.
    """
    version = find_version(stores.ledger, target, name)
    manifest, ledger = version.manifest, stores.ledger
    adapter = _adapter(stores, version)
    findings = findings_of(ledger, target, version.version)
    moves = [m for m in history(ledger, target) if version.version in (m.previous, m.version)]
    champion = alias_of(ledger, target, CHAMPION)
    learnt = count_lineage(ledger, version.version)
    return EvaluationCard(
        version=version.version,
        target=target,
        what=_what(version, adapter),
        created_at=version.created_at,
        aliases=version.aliases,
        champion=champion.version if champion else None,
        parent=version.parent,
        base=str(manifest.get("base", "")),
        training_set=str(manifest.get("training_set", "")),
        considered=_length(manifest.get("considered")),
        learnt=learnt,
        adapter=adapter,
        facts=dict(_facts(manifest)),
        settings=_mapping(manifest.get("settings")),
        findings=tuple(findings),
        moves=tuple(moves),
        limits=tuple(_limits(version, adapter, findings, learnt, prompt)),
    )


def _what(version: Version, adapter: Adapter | None) -> str:
    if version.artifact is None and not version.manifest:
        return "It has no files, and has learnt nothing here: what was in use before any training."
    if adapter is None:
        return "A judge fitted on labels, without an adapter."
    if "fit" in version.manifest and not adapter.arm:
        return "An encoder judge: fitted tiers, and a LoRA adapter on the embedder."
    of = {"app": "of an application's model", "chat-judge": "of a model that judges in words"}
    kind = of.get(str(version.manifest.get("target_kind")), "of a causal model")
    return f"A LoRA adapter {kind}, trained as `{adapter.arm or 'unknown'}`."


def _adapter(stores: Stores, version: Version) -> Adapter | None:
    """What the files say; None where there are none, or none that can be read."""
    try:
        folder = folder_of(stores.artifacts, version)
        given = json.loads((folder / _ADAPTER_FILE).read_text(encoding="utf-8"))
        card = read_card(folder)
    except (BadInput, NotFound, BadArtifact, OSError, ValueError):
        return None
    return Adapter(
        rank=int(given.get("r", 0)),
        alpha=float(given.get("lora_alpha", 0)),
        modules=dict(card.modules) if card else _module_names(version.manifest, given),
        arm=card.arm if card else "",
        tag=card.tag.good if card and card.tag else "",
        base_hash=card.base_hash if card else "",
        prompt_hash=_prompt_hash(card, version.manifest),
        tokenizer_hash=card.tokenizer_hash if card else "",
    )


def _module_names(
    manifest: Mapping[str, object], given: Mapping[str, Any]
) -> dict[str, int | None]:
    trained = _mapping(_mapping(_mapping(manifest.get("fit")).get("lora")).get("trainable"))
    if trained:
        return {name: int(str(n)) for name, n in trained.items()}
    named = given.get("target_modules") or []
    return dict.fromkeys(sorted([named] if isinstance(named, str) else named))


def _prompt_hash(card: AdapterCard | None, manifest: Mapping[str, object]) -> str:
    return card.prompt_hash if card else str(manifest.get("prompt_hash", ""))


def _facts(manifest: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    """What a manifest says beside ids, one line each."""
    yield from _lines(_mapping(manifest.get("fit")))
    yield from _lines({name: value for name, value in manifest.items() if name not in _LISTS})


def _lines(report: Mapping[str, object], before: str = "") -> Iterator[tuple[str, object]]:
    for name, value in report.items():
        said = f"{before}{name.replace('_', ' ')}"
        if isinstance(value, Mapping):
            yield from _lines(value, f"{said}: ")
        elif isinstance(value, list):
            if value and len(value) <= _LISTED and not isinstance(value[0], Mapping | list):
                yield said, ", ".join(map(str, value))
        elif value not in (None, ""):
            yield said, value


def _limits(
    version: Version,
    adapter: Adapter | None,
    findings: list[Finding],
    learnt: Mapping[str, int],
    prompt: str,
) -> Iterator[str]:
    if prompt and adapter and adapter.prompt_hash not in ("", prompt):
        yield f"It {OTHER_PROMPT}: train it again, or put the rubric back."
    if version.artifact is not None and not learnt:
        yield (
            "Which decisions made it is not known: it is from before lineage was kept, or all of "
            "them were forgotten since."
        )
    elif learnt:
        yield (
            "What was forgotten after the training is out of its lineage and its training set, and "
            "may still show in its weights until the next training."
        )
    if not findings:
        yield "The gate has never compared it: nothing says that it is better than another version."
    else:
        yield from _unmeasured(findings[0])
    if adapter and adapter.tag:
        yield f"It has to be asked with `{adapter.tag}` on the question turn; exports add it."
    if adapter:
        yield "It works on the weights that it was trained on, and on no other release of them."


def _unmeasured(last: Finding) -> Iterator[str]:
    if last.outcome == "thin":
        yield "The evidence of the last look is thin: it says too little either way."
    for suite in last.suites:
        if suite.state == "absent":
            yield f"Nothing is known of the suite {suite.name}: it has no case yet."
    untold = [
        f"{one.kind.replace('_', ' ')} {one.name}" for one in last.slices if one.harm_p is None
    ]
    if untold:
        yield f"Too little differs to tell whether anybody is worse off in: {', '.join(untold)}."
    yield from last.notes


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}


def _length(value: object) -> int:
    return len(value) if isinstance(value, list) else 0
