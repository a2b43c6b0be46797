"""The registry: versions of every target, the aliases that move over them, and who moved them.

Manifests in, `Version` out; the one idea is that a champion is an alias. Promotion moves it, a
rollback moves it back, nothing is ever overwritten, and the audit log says who did what and why.

versions    what was made, from what, and what stands on it
lineage     decisions that made a version, and versions that a decision made
moves       promotion, rollback, challenger and shadow
findings    what the gate saw, with every interval
fallen      champions that agree with people less than they did
prompts     champions that were trained to answer another rubric than the one of now
card        all that is known of a version: findings of the gate, lineage, limits
exports     the files of a version, for who runs it elsewhere
"""

from flywheel.registry.card import EvaluationCard, card_of
from flywheel.registry.card_text import card_json, card_markdown, keep_card
from flywheel.registry.exports import Export, Format, export_version
from flywheel.registry.fallen import fallen_champions, labels_after_fall
from flywheel.registry.findings import Finding
from flywheel.registry.lineage import (
    LearntDecision,
    MadeVersion,
    count_lineage,
    decisions_behind,
    versions_made_by,
    versions_made_of,
)
from flywheel.registry.moves import (
    AliasMove,
    Promotion,
    clear_shadow,
    follow_verdict,
    history,
    predecessor,
    promote,
    register_as,
    rollback,
    set_alias,
    set_shadow,
)
from flywheel.registry.versions import (
    CHALLENGER,
    CHAMPION,
    SHADOW,
    Version,
    alias_of,
    find_version,
    known_targets,
    list_versions,
    register,
    targets_of_versions,
    targets_with,
)

__all__ = [
    "CHALLENGER",
    "CHAMPION",
    "SHADOW",
    "AliasMove",
    "EvaluationCard",
    "Export",
    "Finding",
    "Format",
    "LearntDecision",
    "MadeVersion",
    "Promotion",
    "Version",
    "alias_of",
    "card_json",
    "card_markdown",
    "card_of",
    "clear_shadow",
    "count_lineage",
    "decisions_behind",
    "export_version",
    "fallen_champions",
    "find_version",
    "follow_verdict",
    "history",
    "keep_card",
    "known_targets",
    "labels_after_fall",
    "list_versions",
    "predecessor",
    "promote",
    "register",
    "register_as",
    "rollback",
    "set_alias",
    "set_shadow",
    "targets_of_versions",
    "targets_with",
    "versions_made_by",
    "versions_made_of",
]
