"""The generative judges of a project, as `[judges.NAME]` describes them.

Settings in, a `PromptedJudge` out, under the project's rubric and with what labels have said of it.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType

from flywheel.errors import BadSetting, NotFound
from flywheel.judge.calibrating import stored_calibration, stored_calibrations
from flywheel.judge.panel import Panel
from flywheel.judge.prompted import WHOLE, PromptedJudge
from flywheel.judge.rubric import load_rubric
from flywheel.models.causal import LocalModel
from flywheel.models.chat import ChatModel
from flywheel.models.folders import adapter_called, adapter_name
from flywheel.settings import GenerativeSettings
from flywheel.store import Project
from flywheel.traces.conversations import InputLevers


def configured_judge(
    project: Project,
    name: str | None = None,
    levers: InputLevers = WHOLE,
    adapters: Mapping[str, Path] = MappingProxyType({}),
) -> PromptedJudge | None:
    """The generative judge `name`, else the one that `judge.generative` names; None for none.

    `levers` are those that its conversations are read with; `adapters`, by the names of local
    judges, stand in the place of those that the settings name. Raises NotFound where there is no
    `[judges.NAME]`, and BadSetting where it names no model.
    """
    settings = project.settings
    chosen = settings.judge.generative if name is None else name
    if not chosen:
        return None
    if chosen not in settings.judges:
        raise NotFound("table of a generative judge, [judges.NAME],", chosen, list(settings.judges))
    given = adapted_by(settings.judges[chosen], adapters.get(chosen))
    found = PromptedJudge(
        chosen,
        _model(project, chosen, given),
        load_rubric(project.metrics_dir),
        settings.judge.few_shots,
        levers=levers,
        adapter=_adapter_of(given),
    )
    ledger, name_of_opinions = project.stores.ledger, found.opinion_version
    measured = {one.after: one for one in stored_calibrations(ledger, name_of_opinions)}
    stored = stored_calibration(ledger, name_of_opinions)
    if stored is None:
        return replace(found, measured=measured)
    return replace(
        found,
        calibration=stored.calibration,
        thresholds=stored.thresholds,
        certified_after=stored.after,
        measured=measured,
    )


def adapted_by(settings: GenerativeSettings, adapter: Path | None) -> GenerativeSettings:
    """The settings of a judge with this adapter; an endpoint says itself what it serves."""
    if adapter is None or settings.kind != "local":
        return settings
    return settings.model_copy(update={"adapter": str(adapter)})


def _adapter_of(settings: GenerativeSettings) -> str:
    """What names the adapter of a judge; a server's by what it calls it."""
    if settings.kind == "endpoint":
        return adapter_called(settings.model)
    return adapter_name(Path(settings.adapter)) if settings.adapter else ""


def adapted_judge(
    project: Project, name: str, base: str, adapter: Path | None, levers: InputLevers = WHOLE
) -> PromptedJudge:
    """The judge `name` on a local base with another adapter or none: bare, and shown no cases."""
    given = project.settings.judges[name]
    local = given.model_copy(update={"kind": "local", "model": base, "adapter": str(adapter or "")})
    model = _model(project, name, local)
    return PromptedJudge(name, model, load_rubric(project.metrics_dir), levers=levers)


def configured_panel(
    project: Project,
    levers: InputLevers = WHOLE,
    adapters: Mapping[str, Path] = MappingProxyType({}),
) -> Panel | None:
    """The panel of the project's settings; None where nobody sits in it. It is shown no cases."""
    settings = project.settings.panel
    if not settings.first:
        return None
    first, second = (
        tuple(replace(_named(project, name, levers, adapters), few_shots=0) for name in names)
        for names in (settings.first, settings.second)
    )
    return Panel(first, second, settings.audit_share)


def _named(
    project: Project, name: str, levers: InputLevers, adapters: Mapping[str, Path]
) -> PromptedJudge:
    found = configured_judge(project, name, levers, adapters)
    if found is None:
        raise BadSetting("[panel] names a judge without a name; write those of [judges.NAME]")
    return found


def _model(project: Project, name: str, settings: GenerativeSettings) -> ChatModel:
    if not settings.model:
        raise BadSetting(f"[judges.{name}] names no model; set its `model`")
    if settings.kind == "local":
        compute = project.settings.compute
        return _local_model(name, settings, compute.threads, compute.usd_per_cpu_hour)
    # Its client is an extra, which a project without an endpoint does without.
    from flywheel.models.endpoint import Endpoint

    return Endpoint(name, settings, project.stores.ledger)


@lru_cache(maxsize=8)
def _local_model(
    name: str, settings: GenerativeSettings, threads: int, usd_per_cpu_hour: float
) -> LocalModel:
    """The model itself, once a process; those on one base are one base and their adapters."""
    return LocalModel(
        name,
        settings.model,
        settings.adapter,
        threads,
        settings.max_reply_tokens,
        settings.context_tokens,
        usd_per_cpu_hour,
    )
