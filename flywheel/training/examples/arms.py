"""Arms: the ways in which a causal model learns from the same examples.

Examples in, the rows that are trained on out, with a count of what was left out and why. The one
idea is that a row is an example whose question turn has its tag already, so that whoever trains
knows nothing of tags; served is always with the good one.

    vanilla   good examples, untagged
    nut       all examples, untagged
    nat       all examples, tagged good or bad
    nat-k     all examples, tagged by grade: 0, below .4, below 1, and 1
    dpo       pairs of a correction and the failure that it mends
    kto       all examples, each good or not

Source: Wang et al., "Learning From Failure" (2402.11651); for the last two Rafailov et al.
(2305.18290) and Ethayarajh et al. (2402.01306).
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from flywheel.errors import BadInput, NotEnough
from flywheel.models.tags import NAT, NAT_K, TagTemplate
from flywheel.records import Arm
from flywheel.training.examples.example import ChatExample

# Below which grades the classes of nat-k end; the first is that of 0 alone.
_GRADES = (0.4, 1.0)
_TAGS: Mapping[Arm, TagTemplate] = {"nat": NAT, "nat-k": NAT_K}


@dataclass(frozen=True, slots=True)
class ArmPair:
    """Two answers in one context, of which the first is better."""

    chosen: ChatExample
    rejected: ChatExample


@dataclass(frozen=True, slots=True)
class ArmRows:
    """What an arm is trained on: `rows`, tagged where it has a tag, or `pairs` for dpo.

    Of kto's rows, `is_good` says which are wanted. `left_out` counts examples by reason.
    """

    arm: Arm
    tag: TagTemplate | None
    rows: tuple[ChatExample, ...] = ()
    pairs: tuple[ArmPair, ...] = ()
    left_out: Mapping[str, int] = field(default_factory=dict)

    @property
    def n_examples(self) -> int:
        """How many examples are learnt from."""
        return len(self.rows) + 2 * len(self.pairs)

    def as_served(self, examples: Iterable[ChatExample]) -> list[ChatExample]:
        """The good ones of other examples as they are asked in serving, to validate on."""
        return [_tagged(e, self.tag) for e in examples if e.is_good]


def arm_rows(examples: Sequence[ChatExample], arm: Arm, tag: TagTemplate | None = None) -> ArmRows:
    """What `arm` trains on of these examples, in their order; `tag` is another than its usual one.

    Raises NotEnough where nothing is left, and BadInput on a tag with too few or too many classes.
    """
    if arm == "dpo":
        pairs, left = _pairs(examples)
        found = ArmRows(arm, None, pairs=tuple(pairs), left_out=left)
    else:
        template = _template(arm, tag)
        kept = [e for e in examples if e.is_good] if arm == "vanilla" else list(examples)
        rows = tuple(_tagged(e, template) for e in kept)
        n_left = len(examples) - len(kept)
        left = {"a failure, from which vanilla does not learn": n_left} if n_left else {}
        found = ArmRows(arm, template, rows, left_out=left)
    if not found.n_examples:
        what = "pairs of a correction and its failure" if arm == "dpo" else "examples"
        raise NotEnough(f"{what} for the arm {arm}", 0, 1)
    return found


def grade_class(example: ChatExample, tag: TagTemplate) -> int:
    """The class of an example among those of a tag: two by good or not, four by the grade."""
    if len(tag.words) == 2:
        return int(example.is_good)
    if example.is_good:
        return tag.good_class
    grade = example.grade or 0.0
    return 0 if grade <= 0 else 1 + sum(grade >= edge for edge in _GRADES)


def _template(arm: Arm, tag: TagTemplate | None) -> TagTemplate | None:
    usual = _TAGS.get(arm)
    if usual is None or tag is None:
        return usual
    if len(tag.words) != len(usual.words):
        raise BadInput(f"the arm {arm} has {len(usual.words)} classes, the tag {len(tag.words)}")
    return tag


def _tagged(example: ChatExample, tag: TagTemplate | None) -> ChatExample:
    if tag is None:
        return example
    of_class = grade_class(example, tag)
    return replace(example, messages=tag.apply(example.messages, of_class, example.n_context))


def _pairs(examples: Iterable[ChatExample]) -> tuple[list[ArmPair], dict[str, int]]:
    """Each good example with each failure of its pair, and what has no other side."""
    sides: dict[str, tuple[list[ChatExample], list[ChatExample]]] = {}
    left: Counter[str] = Counter()
    for example in examples:
        if not example.pair_id:
            left["no pair"] += 1
            continue
        sides.setdefault(example.pair_id, ([], []))[not example.is_good].append(example)
    pairs = []
    for good, bad in sides.values():
        pairs += [ArmPair(chosen, rejected) for chosen in good[:1] for rejected in bad[:1]]
        left["no pair"] += len(good) + len(bad) - 2 * bool(good and bad)
    return pairs, {why: n for why, n in left.items() if n}
