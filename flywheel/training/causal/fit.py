"""A causal adapter from an arm's rows: sized, its learning rate chosen, trained, and written.

Tagged rows and validation examples in; a folder that plain `peft` loads, with its card, and a
report out. The one idea is that the learning rates that are tried are not short trainings of their
own but the beginnings of the whole one, of which the best goes on.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from flywheel.errors import BadInput
from flywheel.judge.scoring import Progress, no_progress
from flywheel.models.adapter_card import AdapterCard, tokenizer_hash
from flywheel.models.engine import Precision
from flywheel.settings import TrainingSettings
from flywheel.training.causal.base import Base, open_base
from flywheel.training.causal.beginning import Fitting, begin, checks_of, n_tried
from flywheel.training.causal.folder import write_adapter
from flywheel.training.causal.preferences import fit_preferences, require_trl
from flywheel.training.causal.report import CausalFit, Purpose, Tried
from flywheel.training.causal.rows import Row
from flywheel.training.descent import Descent, descend, restore
from flywheel.training.examples.arms import ArmRows
from flywheel.training.examples.example import ChatExample
from flywheel.training.layers import LayerKind, Share

Say = Callable[[str], None]
_FOR_AN_APP = Purpose()


def say_nothing(_: str) -> None:
    """For who does not want to know."""


def fit_causal(
    rows: ArmRows,
    validation: Sequence[ChatExample],
    base: str,
    settings: TrainingSettings,
    out: Path,
    work: Path,
    progress: Progress = no_progress,
    purpose: Purpose = _FOR_AN_APP,
    threads: int = 1,
    say: Say = say_nothing,
    precision: Precision = "bfloat16",
) -> CausalFit:
    """Train an adapter on `base` and write it to the folder `out`, which is new or empty.

    It is trained in bfloat16 where that is wanted and the hardware has it.

    In `work` stand the checkpoints; a training that was killed goes on from there. Of `validation`
    the good examples count, as they are asked in serving. Raises NotEnough where nothing is left
    to train or to check on, BadInput where `out` holds something, and NeverWill where no MLP layer
    would be trained.
    """
    if out.exists() and any(out.iterdir()):
        raise BadInput(f"{out} exists already and is not empty; name a new folder")
    is_preference = rows.arm in ("dpo", "kto")
    if is_preference:
        require_trl()
    opened = open_base(base, threads, precision)
    checks = checks_of(opened, rows, validation, settings)
    if is_preference:
        model, fit = fit_preferences(opened, rows, checks, settings)
    else:
        model, fit = _fit(opened, rows, checks, settings, work, progress, say)
    if opened.place.is_main:
        write_adapter(opened.place.bare(model), _card(fit, opened, rows, purpose), out)
    opened.place.wait()
    return fit


def _fit(
    opened: Base,
    rows: ArmRows,
    checks: tuple[Row, ...],
    settings: TrainingSettings,
    work: Path,
    progress: Progress,
    say: Say,
) -> tuple[Any, CausalFit]:
    """The model with its adapter as it was at its best, and the report."""
    fitting = begin(opened, rows, checks, settings)
    say(f"{fitting.memory.words}; {opened.place.words}")
    say(_words_of(fitting.shares))
    tried = _tried(fitting, settings, work, progress)
    best = min(tried, key=lambda each: each.loss)
    went = _descent(fitting, settings, best.rate, work, None, progress)
    restore(fitting.learner(best.rate), went.best)
    return fitting.model, _report(fitting, rows, settings, tried, best.rate, went)


def _card(fit: CausalFit, opened: Base, rows: ArmRows, purpose: Purpose) -> AdapterCard:
    return AdapterCard(
        target_kind=purpose.target_kind,
        base=fit.base,
        base_hash=fit.base_hash,
        rank=fit.rank,
        modules={kind: share.trained for kind, share in fit.shares.items()},
        arm=fit.arm,
        tag=rows.tag,
        prompt_hash=purpose.prompt_hash,
        tokenizer_hash=tokenizer_hash(opened.folder),
        training_set=purpose.training_set,
        n_examples=fit.n_examples,
    )


def _tried(
    fitting: Fitting, settings: TrainingSettings, work: Path, progress: Progress
) -> tuple[Tried, ...]:
    """Each learning rate's first steps of the whole training."""
    rates = sorted(set(settings.learning_rates))
    if len(rates) == 1:
        return (Tried(rates[0], 0, fitting.base_loss, 0.0),)
    n = n_tried(len(fitting.course.batches))
    found = []
    for rate in rates:
        went = _descent(fitting, settings, rate, work, n, progress)
        after = [look.loss for look in went.looks if look.step <= n]
        found.append(Tried(rate, min(n, went.steps), after[-1], went.cpu_s))
    return tuple(found)


def _descent(
    fitting: Fitting,
    settings: TrainingSettings,
    rate: float,
    work: Path,
    pause_after: int | None,
    progress: Progress,
) -> Descent:
    """Train at a rate from a fresh adapter, or from where that was left."""
    import torch

    learner = fitting.learner(rate)
    restore(learner, fitting.fresh)
    torch.manual_seed(settings.seed)
    course = replace(fitting.course, about=f"{fitting.course.about} {rate}")
    file = work / f"rate-{rate:g}.safetensors"
    return descend(
        learner, course, fitting.opened.place, file, pause_after, fitting.base_loss, progress
    )


def _words_of(shares: dict[LayerKind, Share]) -> str:
    """Which share of each kind of layer is trained, for people."""
    parts = [
        f"{share.share:.2%} of {kind} ({share.trained:,} numbers)"
        for kind, share in shares.items()
        if share.trained
    ]
    return f"trained: {', '.join(parts)}"


def _report(
    fitting: Fitting,
    rows: ArmRows,
    settings: TrainingSettings,
    tried: tuple[Tried, ...],
    rate: float,
    went: Descent,
) -> CausalFit:
    return CausalFit(
        arm=rows.arm,
        base=fitting.opened.name,
        base_hash=fitting.opened.weights_hash,
        rank=fitting.rank,
        rank_by="setting" if settings.rank else "size of the data",
        bits=round(fitting.bits),
        rate=rate,
        tried=tried,
        n_examples=len(fitting.train.rows),
        n_validation=len(fitting.checks),
        left_out={**rows.left_out, **fitting.train.left_out},
        n_tokens=fitting.train.n_tokens,
        n_learnt=fitting.train.n_learnt,
        base_loss=fitting.base_loss,
        loss=went.least,
        looks=went.looks,
        steps=went.steps,
        steps_planned=len(fitting.course.batches),
        best_step=went.best_step,
        ending=went.ending,
        shares=fitting.shares,
        memory=fitting.memory,
        place=fitting.opened.place.words,
        seed=settings.seed,
        cpu_s=went.cpu_s + sum(each.cpu_s for each in tried if each.rate != rate),
    )
