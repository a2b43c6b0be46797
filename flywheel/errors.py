"""What can go wrong, said in one sentence each; every stage raises from here.

FlywheelError
├── TryAgain            a later attempt may succeed: a lock, a busy server
│   └── WarehouseBusy
└── NeverWill           the same call fails the same way until somebody changes something
    ├── BadSetting      flywheel.toml or FLYWHEEL_*
    ├── BadInput        a file or a row from outside
    ├── NotFound        an id or an alias that nothing carries
    ├── AddsNothing     a training that would give what there is already
    ├── NotEnough       too few labels, corrections or positives for what was asked
    ├── Refused         a promotion that the gate has not passed, a rollback to nothing
    ├── BadMetric       a metric file that is no single locked-down SELECT
    ├── Leak            the same conversation on both sides of a split
    └── BadArtifact     an artifact whose bytes are not what its name says
"""

from collections.abc import Sequence
from difflib import get_close_matches


class FlywheelError(Exception):
    """Anything that Flywheel raises on purpose; its text is one sentence for people."""


class TryAgain(FlywheelError):
    """The same call may succeed later."""


class NeverWill(FlywheelError):
    """The same call will fail again until something is changed."""


class WarehouseBusy(TryAgain):
    """Another process held the warehouse for longer than the caller would wait."""

    def __init__(self, path: str, waited_s: float):
        super().__init__(
            f"the warehouse {path} was in use for {waited_s:.0f} s by another process; "
            "run the command again when that run has ended"
        )
        self.path = path
        self.waited_s = waited_s


class BadSetting(NeverWill):
    """A setting that does not exist or is out of its bounds."""


class BadInput(NeverWill):
    """A file or a row from outside that cannot be used."""


class NotFound(NeverWill):
    """Nothing carries this name."""

    def __init__(self, kind: str, name: str, known: Sequence[str] | None = ()):
        """Say what there is besides; `known` is None where that would help nobody."""
        near = get_close_matches(name, known or (), n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        listing = f"; known: {', '.join(sorted(known)[:8])}" if known and not near else ""
        nothing = "" if known is None else "; none exists yet"
        super().__init__(f"there is no {kind} {name!r}{hint or listing or nothing}")
        self.kind = kind
        self.name = name


class NotEnough(NeverWill):
    """Too little evidence for what was asked."""

    def __init__(self, what: str, have: int, need: int):
        super().__init__(f"{have} {what}, and at least {need} are needed; {need - have} more")
        self.have = have
        self.need = need


class AddsNothing(NeverWill):
    """What was asked would change nothing: there is no new evidence, or it taught nothing."""


class Refused(NeverWill):
    """What was asked is possible and not allowed, such as a promotion without a passing gate."""


class BadMetric(NeverWill):
    """A metric file that cannot be run."""

    def __init__(self, path: str, why: str):
        super().__init__(f"metric {path}: {why}")
        self.path = path
        self.why = why


class Leak(NeverWill):
    """The same conversation stands on both sides of a split."""

    def __init__(
        self, groups: Sequence[str], sides: tuple[str, str], so: str = "nothing was trained"
    ):
        super().__init__(
            f"{len(groups)} sessions stand in both {sides[0]} and {sides[1]}, "
            f"such as {', '.join(sorted(groups)[:3])}; {so}"
        )
        self.groups = list(groups)


class BadArtifact(NeverWill):
    """The bytes of an artifact do not have the hash that names them."""
