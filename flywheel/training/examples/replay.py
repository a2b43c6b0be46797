"""Replay: which old examples are learnt again, where not all of them fit in.

Examples, and which of them are old, in; at most so many out. The one idea is that a fresh adapter
that saw new corrections alone would forget what the one before it had learnt, so that a share of
old examples stays, drawn by a hash and by whole pairs.

Source: 20 to 50 % replay of old examples, as in "LoRA Without Regret" (Schulman et al., 2025).
"""

from collections.abc import Sequence, Set
from dataclasses import dataclass

from flywheel.records import unit_hash
from flywheel.training.examples.example import ChatExample


@dataclass(frozen=True, slots=True)
class Replayed:
    """The examples that fit in, in their order; how many of them are old, and how many went."""

    kept: list[ChatExample]
    n_old: int
    n_left_out: int


def with_replay(
    examples: Sequence[ChatExample], known: Set[int], most: int, replay_share: float, seed: int
) -> Replayed:
    """At most `most` examples, `replay_share` of them old; the other kind fills what is short.

    Old are those whose decisions are all among `known`. New ones go in by their newest decision,
    old ones by a hash with the seed; a correction and its failure go in together or not at all.
    """
    old_ids = {e.example_id for e in examples if e.decision_ids and known >= set(e.decision_ids)}
    if len(examples) <= most:
        return Replayed(list(examples), len(old_ids), 0)
    units: dict[str, list[ChatExample]] = {}
    for example in examples:
        units.setdefault(example.pair_id or example.example_id, []).append(example)
    old = [unit for unit in units.values() if all(e.example_id in old_ids for e in unit)]
    new = [unit for unit in units.values() if not all(e.example_id in old_ids for e in unit)]
    old.sort(key=lambda unit: unit_hash(unit[0].example_id, f"replay-{seed}"))
    new.sort(key=lambda unit: -max((max(e.decision_ids, default=0) for e in unit), default=0))
    n_new = sum(map(len, new))
    for_old = max(int(most * replay_share), most - n_new)
    taken_old, spare = _fill(old, for_old)
    taken_new, _ = _fill(new, most - for_old + spare)
    taken = {e.example_id for unit in (*taken_old, *taken_new) for e in unit}
    kept = [example for example in examples if example.example_id in taken]
    n_old = sum(example.example_id in old_ids for example in kept)
    return Replayed(kept, n_old, len(examples) - len(kept))


def _fill(units: Sequence[list[ChatExample]], room: int) -> tuple[list[list[ChatExample]], int]:
    """The first units that fit into the room, and the room that is left."""
    taken = []
    for unit in units:
        if len(unit) <= room:
            taken.append(unit)
            room -= len(unit)
    return taken, room
