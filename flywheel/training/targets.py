"""Targets: what is retrained, each with its own versions, champion and training set.

Settings in, targets out. The one idea is that the judge of all applications is a target like the
others, and always there: an application's own judge, a causal judge or an application's model stand
beside it, and go the same way.
"""

from dataclasses import dataclass
from typing import Literal

from flywheel.errors import NotFound
from flywheel.records import JUDGE_TARGET, Arm, TargetKind
from flywheel.settings import Settings, TargetSettings

# Where adapters of causal models stand among a project's artifacts, one folder a version.
ADAPTERS: Literal["adapters"] = "adapters"


@dataclass(frozen=True, slots=True)
class Target:
    """What is retrained; no `apps` are all of them, `base` and `arm` are of causal models.

    `judge` is the one of `[judges.NAME]` that runs a chat-judge.
    """

    name: str = JUDGE_TARGET
    kind: TargetKind = "judge"
    apps: tuple[str, ...] = ()
    base: str = ""
    judge: str = ""
    arm: Arm = "nat"

    @property
    def is_causal(self) -> bool:
        """Whether a causal model is trained, and not the encoder judge."""
        return self.kind != "judge"

    @property
    def artifacts(self) -> Literal["judges", "adapters"]:
        """The kind of artifact that its versions are."""
        return ADAPTERS if self.is_causal else "judges"

    def reads(self, app: str) -> bool:
        """Whether it learns from an application."""
        return not self.apps or app in self.apps


JUDGE = Target()


def targets_of(settings: Settings) -> list[Target]:
    """The judge of all applications, then the others in the order of the settings."""
    return [JUDGE, *(_target(settings, name, each) for name, each in settings.targets.items())]


def target_named(settings: Settings, name: str) -> Target:
    """The target of this name; raises NotFound, which names those there are."""
    targets = {target.name: target for target in targets_of(settings)}
    if name not in targets:
        raise NotFound("target, [targets.NAME],", name, list(targets))
    return targets[name]


def _target(settings: Settings, name: str, given: TargetSettings) -> Target:
    base = given.base
    if given.kind == "chat-judge" and not base:
        base = settings.judges[given.judge].model
    return Target(name, given.kind, tuple(given.apps), base, given.judge, given.arm)
