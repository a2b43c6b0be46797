"""A judge for each application: who reads what, what is in force, and what stands in the shadow."""

import json
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner

from flywheel.cli.main import cli
from flywheel.errors import BadSetting
from flywheel.in_use import adapters_of, judge_of, judged_by_target, judges_of, target_of
from flywheel.judge import shadow_report
from flywheel.judge.configured import adapted_by
from flywheel.judge.encoder import FrozenModel
from flywheel.judge.files import KIND, save_judge
from flywheel.judge.judge import Judge
from flywheel.judge.lexical import LexicalModel, lexical_model
from flywheel.judge.lora import LoraModel, PairEncoder, base_model, lora_model
from flywheel.judge.shadow_report import compare_shadows, published_shadows
from flywheel.loop import judge_day
from flywheel.models.adapters import quiet_peft
from flywheel.models.embedder import Embedder, load_embedder
from flywheel.registry import (
    CHAMPION,
    clear_shadow,
    promote,
    register,
    rollback,
    set_alias,
    set_shadow,
)
from flywheel.settings import GenerativeSettings, TargetSettings, TrainingSettings
from flywheel.store import Project
from flywheel.store.tables import verdict_cache
from flywheel.traces.applications import Applications
from flywheel.traces.tool_turns import Message
from flywheel.training.fit import fit_judge
from flywheel.web.champion import Asked, Champion
from tests.conftest import trace, write_lines
from tests.judged import DAY, add_traces
from tests.made_up import made_up
from tests.test_judge import LEVERS, draw, rows_of

GOOD, BAD = "Thank you, that is right.", "No, that is wrong."
APPS = ("shop", "bank", "help")


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    return load_embedder()


@pytest.fixture(scope="module")
def fitted(embedder: Embedder) -> Judge:
    """A judge of labels whose adapter was drawn, not trained."""
    judge, _ = fit_judge(
        made_up(40, n_rounds=2), [], embedder, LEVERS, TrainingSettings(), with_lora=False
    )
    return adapted(judge, seed=0)


def adapted(judge: Judge, seed: int, by: float = 0.0) -> Judge:
    """The judge with another adapter, and its first tier's logits moved."""
    import torch
    from peft import LoraConfig, get_peft_model

    lexical, frozen = judge.models["lexical"], judge.models["frozen"]
    assert isinstance(lexical, LexicalModel)
    assert isinstance(frozen, FrozenModel)
    torch.manual_seed(seed)
    config = LoraConfig(r=2, lora_alpha=32, target_modules="all-linear")
    with quiet_peft():
        model = get_peft_model(base_model(frozen.embedder), config).eval()
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.02)
    coef = np.random.default_rng(seed).normal(size=frozen.embedder.dim)
    lora = lora_model(frozen, PairEncoder(frozen.embedder, model), coef, by)
    moved = lexical_model(lexical.scale, lexical.coef, lexical.intercept + by, lexical.pooling)
    calibrations = {**judge.calibrations, "lora": judge.calibrations["frozen"]}
    models = {"lexical": moved, "frozen": frozen, "lora": lora}
    return replace(judge, models=models, calibrations=calibrations, best="lora", cascade=None)


def turned(judge: Judge, by: float) -> Judge:
    """The judge with its logits moved, another version with the same adapter."""
    lora = judge.models["lora"]
    assert isinstance(lora, LoraModel)
    moved = lora_model(lora.frozen, lora.encoder, lora.coef, lora.intercept + by)
    return replace(judge, models={**judge.models, "lora": moved})


def stored(project: Project, target: str, judge: Judge) -> str:
    """The judge as a registered version of a target."""
    with project.stores.artifacts.new_folder(KIND, judge.version) as folder:
        save_judge(judge, folder, {})
    register(project.stores.ledger, target, judge.version, {}, judge.version, None, "test")
    return judge.version


def champion(project: Project, target: str, judge: Judge) -> str:
    version = stored(project, target, judge)
    set_alias(project.stores.ledger, target, CHAMPION, version, "test", "")
    return version


def with_targets(project: Project, **apps: list[str]) -> Project:
    targets = {name: TargetSettings(apps=these) for name, these in apps.items()}
    return replace(project, settings=project.settings.model_copy(update={"targets": targets}))


def mixed_day(project: Project) -> None:
    """Nine traces of three applications, all in the sample."""
    rows = [
        trace(f"{app}-{n}", f"Order {n}, please.", f"I did {n}.", BAD if n else GOOD, app=app)
        for app in APPS
        for n in range(3)
    ]
    add_traces(project.stores, rows)
    draw(project.stores, 9)


def judges_in_force(project: Project) -> Mapping[str, set[str]]:
    """The judge version of each application's current scores."""
    with project.stores.warehouse.open() as connection:
        rows = connection.raw.execute(
            "select t.app, split_part(s.judge_version, '/', 1) from current_scores s "
            "join traces t using (trace_id, content_hash) where s.metric = 'perceived_error'"
        ).fetchall()
    return {app: {judge for own, judge in rows if own == app} for app in APPS}


def test_each_application_is_read_by_its_own_champion(project: Project, fitted: Judge) -> None:
    mixed_day(project)
    project = with_targets(project, tills=["shop"], others=["help"])
    of_all = champion(project, "judge", fitted)
    of_shop = champion(project, "tills", turned(fitted, 3.0))
    report = judge_day(project, DAY)
    # [targets.others] has no champion yet: the judge of all applications reads for it.
    assert judges_in_force(project) == {"shop": {of_shop}, "bank": {of_all}, "help": {of_all}}
    assert (report.attempted, report.scored["lora"]) == (9, 9)
    assert (report.judge_version, report.by_target) == (of_all, {"tills": of_shop})
    of_help = champion(project, "others", turned(fitted, -3.0))
    judge_day(project, DAY)
    assert judges_in_force(project) == {"shop": {of_shop}, "bank": {of_all}, "help": {of_help}}
    assert len(rows_of(project.stores, "current_scores")) == 9


def test_a_day_that_is_judged_again_by_one_has_no_row_of_the_other_in_force(
    project: Project, fitted: Judge
) -> None:
    mixed_day(project)
    of_all = champion(project, "judge", fitted)
    judge_day(project, DAY)
    apart = with_targets(project, tills=["shop"])
    of_shop = champion(apart, "tills", turned(fitted, 3.0))
    judge_day(apart, DAY)
    assert judges_in_force(apart)["shop"] == {of_shop}
    # Its rows of the first run are gone where another reads now, and come back with it.
    judge_day(project, DAY)
    assert set.union(*judges_in_force(project).values()) == {of_all}
    assert len(rows_of(project.stores, "current_scores")) == 9


def test_an_applications_verdicts_are_those_of_its_judge_alone(
    project: Project, fitted: Judge
) -> None:
    mixed_day(project)
    other = adapted(fitted, seed=1, by=1.0)
    champion(project, "judge", other)
    judge_day(project, DAY)
    alone = verdicts_of(project)
    with project.stores.ledger.begin() as connection:
        connection.execute(verdict_cache.delete())
    apart = with_targets(project, tills=["shop"], others=["help"])
    champion(apart, "judge", fitted)
    version = champion(apart, "tills", turned(other, 0.0001))
    assert version != other.version
    judge_day(apart, DAY)
    for name, (_, label, probability) in verdicts_of(project).items():
        if name.startswith("shop"):
            assert label == alone[name][1]
            assert probability == pytest.approx(alone[name][2], abs=1e-3)
        else:
            assert probability != pytest.approx(alone[name][2], abs=1e-6)


def test_who_reads_an_application(project: Project, fitted: Judge) -> None:
    project = with_targets(project, tills=["shop", "till"], others=["help"])
    assert judged_by_target(project) == {"judge": Applications()}
    champion(project, "tills", turned(fitted, 1.0))
    assert judged_by_target(project) == {
        "tills": Applications(("shop", "till"), False),
        "judge": Applications(("shop", "till")),
    }
    assert [target_of(project, app) for app in ("shop", "help", "")] == ["tills", "judge", "judge"]
    assert [each.targets for each in judges_of(project)] == [("tills",), ("judge",)]


def test_two_judges_of_one_application_are_refused(project: Project) -> None:
    with pytest.raises(BadSetting, match=r"\[targets.a\] and \[targets.b\] both judge .*'shop'"):
        judges_of(with_targets(project, a=["shop"], b=["help", "shop"]))


# Shadows


def test_a_shadow_reads_what_its_champion_reads_and_is_kept_apart(
    project: Project, fitted: Judge
) -> None:
    mixed_day(project)
    project = with_targets(project, tills=["shop"])
    of_all = champion(project, "judge", fitted)
    judge_day(project, DAY)
    tables = ("scores", "score_runs", "current_runs", "current_scores")
    before = [rows_of(project.stores, table) for table in tables]
    for target, by in (("judge", 30.0), ("tills", -30.0)):
        version = stored(project, target, turned(fitted, by))
        set_shadow(project.stores.ledger, target, version, "ann", "to see")
    report = judge_day(project, DAY)
    assert sorted(report.shadows) == ["judge", "tills"]
    assert report.shadows["tills"].endswith("read 3 of 3")
    assert [rows_of(project.stores, table) for table in tables] == before
    # [targets.tills] has no champion, so that the judge of all applications reads shop as well.
    found = compare_shadows(project.stores)
    assert [(each.target, each.n, each.champion) for each in found] == [
        ("judge", 9, of_all),
        ("tills", 3, of_all),
    ]
    everything, nothing = found
    assert everything.rate_of_shadow.estimate == 1
    assert nothing.rate_of_shadow.estimate == 0
    assert (
        everything.to_error
        == len(everything.flips)
        == 9 - round(9 * everything.rate_of_champion.estimate)
    )
    assert published_shadows(project.stores) == found


def test_a_shadow_is_read_again_in_place_and_gone_when_it_is_cleared(
    project: Project, fitted: Judge
) -> None:
    mixed_day(project)
    champion(project, "judge", fitted)
    version = stored(project, "judge", turned(fitted, 5.0))
    set_shadow(project.stores.ledger, "judge", version, "ann", "to see")
    for _ in range(2):
        judge_day(project, DAY)
    assert len(rows_of(project.stores, "shadow_scores")) == 9
    clear_shadow(project.stores.ledger, "judge", "ann", "seen")
    assert judge_day(project, DAY).shadows == {}


def test_a_comparison_counts_flips_and_whom_people_side_with(
    project: Project, fitted: Judge, monkeypatch: pytest.MonkeyPatch
) -> None:
    mixed_day(project)
    champion(project, "judge", turned(fitted, -30.0))
    version = stored(project, "judge", fitted)
    set_shadow(project.stores.ledger, "judge", version, "ann", "to see")
    judge_day(project, DAY)
    (before,) = published_shadows(project.stores)
    right, wrong = (flip.trace_id for flip in before.flips[:2])
    with project.stores.warehouse.open() as connection:
        connection.raw.execute(
            "insert into labels (correction_id, trace_id, content_hash, app, session_id, day, "
            "split, perceived_error, source, n_reviewers, rubric_version, is_audit, decided_at) "
            "select trace_id, trace_id, content_hash, app, session_id, day, 'holdout', "
            "trace_id = $right, 'human', 1, '1', true, now() from traces "
            "where trace_id in ($right, $wrong)",
            {"right": right, "wrong": wrong},
        )
    monkeypatch.setattr(shadow_report, "MOST_FLIPS", 2)
    (found,) = compare_shadows(project.stores)
    flips = found.to_error
    assert found.agreement.estimate == pytest.approx((9 - flips) / 9)
    # The shadow calls both an error and the champion neither; people call one so.
    assert (found.n_labelled, found.only_champion, found.only_shadow) == (2, 1, 1)
    assert len(found.flips) == 2
    assert sum(n for n, _ in found.by_app.values()) == 9
    apart = [abs(flip.of_champion - flip.of_shadow) for flip in found.flips]
    assert apart == sorted(apart, reverse=True)


# Rolling back


def test_a_rollback_gives_the_old_verdicts_again_without_the_cache(
    project: Project, fitted: Judge
) -> None:
    mixed_day(project)
    ledger = project.stores.ledger
    first, second = (
        stored(project, "judge", fitted),
        stored(project, "judge", adapted(fitted, 7, 4.0)),
    )
    promote(ledger, "judge", first, "ann", "the first")
    judge_day(project, DAY)
    before = verdicts_of(project)
    promote(ledger, "judge", second, "ann", "better", force=True)
    assert judge_of(project).version == second
    judge_day(project, DAY)
    between = verdicts_of(project)
    assert {version for version, _, _ in between.values()} == {second}
    rollback(ledger, "judge", "ann")
    with ledger.begin() as connection:
        connection.execute(verdict_cache.delete())
    load_embedder()._cache.clear()
    report = judge_day(project, DAY)
    assert report.from_cache == 0
    after = verdicts_of(project)
    assert {name: row[:2] for name, row in after.items()} == {
        name: row[:2] for name, row in before.items()
    }
    apart = [after[name][2] - before[name][2] for name in before]
    assert np.abs(apart).max() < 1e-5


def verdicts_of(project: Project) -> dict[str, tuple[str, str, float]]:
    """Judge version, label and probability in force, by trace."""
    with project.stores.warehouse.open() as connection:
        rows = connection.raw.execute(
            "select trace_id, split_part(judge_version, '/', 1), label, probability "
            "from current_scores where metric = 'perceived_error'"
        ).fetchall()
    return {name: (version, label, float(p)) for name, version, label, p in rows}


# Commands


def test_a_file_is_judged_by_each_applications_judge(project: Project, fitted: Judge) -> None:
    of_all = champion(project, "judge", fitted)
    of_shop = champion(project, "tills", turned(fitted, 3.0))
    (project.folder / "flywheel.toml").write_text('[targets.tills]\napps = ["shop"]\n')
    rows = [trace(app, "Order, please.", "I did.", BAD, app=app) for app in APPS]
    path = write_lines(project.folder / "asked.jsonl", rows)
    out = run(project, "judge", "score", str(path))
    said = {line["trace_id"]: line["judge_version"] for line in map(json.loads, out.splitlines())}
    expected = {"shop": of_shop, "bank": of_all, "help": of_all}
    assert said == {app: f"{version}/lora" for app, version in expected.items()}


def test_a_shadow_is_told_of_on_the_command_line(project: Project, fitted: Judge) -> None:
    project.data_dir.mkdir(parents=True, exist_ok=True)
    assert json.loads(run(project, "judge", "shadow", "--json")) == []
    mixed_day(project)
    champion(project, "judge", turned(fitted, -30.0))
    version = stored(project, "judge", turned(fitted, 30.0))
    set_shadow(project.stores.ledger, "judge", version, "ann", "to see")
    judge_day(project, DAY)
    (told,) = json.loads(run(project, "judge", "shadow", "--days", "7", "--json"))
    assert (told["shadow"], told["n"], told["to_error"], len(told["flips"])) == (version, 9, 9, 9)
    words = run(project, "judge", "shadow", "--target", "judge").split()
    # Wilson's interval of nine of nine: from 9 / (9 + 1.96^2).
    assert " ".join(words).count("errors by the shadow 100.0% [70.1%, 100.0%]") == 1
    assert run(project, "judge", "shadow", "--target", "other") == ""


def run(project: Project, *command: str) -> str:
    result = CliRunner().invoke(cli, ["--project", str(project.folder), *command])
    assert result.exit_code == 0, result.stderr
    return result.stdout


# Now


def test_a_conversation_is_judged_now_by_its_applications_champion(
    project: Project, fitted: Judge
) -> None:
    of_all = champion(project, "judge", fitted)
    project = with_targets(project, tills=["shop"])
    at_work = Champion(project)
    said = tuple(
        Message(i, role, text)
        for i, (role, text) in enumerate(
            [("user", "Order, please."), ("assistant", "I did."), ("user", BAD)]
        )
    )

    def judge_version(app: str) -> str:
        return at_work.score(Asked("now", said, app)).judge_version

    assert [judge_version(app) for app in ("shop", "")] == [f"{of_all}/lora"] * 2
    of_shop = champion(project, "tills", turned(fitted, 3.0))
    assert judge_version("shop") == f"{of_shop}/lora"
    assert judge_version("bank") == f"{of_all}/lora"
    newer = stored(project, "tills", turned(fitted, 4.0))
    promote(project.stores.ledger, "tills", newer, "ann", "better", force=True)
    assert judge_version("shop") == f"{newer}/lora"
    rollback(project.stores.ledger, "tills", "ann")
    assert judge_version("shop") == f"{of_shop}/lora"
    # Without a champion of its own it is read by that of all again, and by the next run too.
    rollback(project.stores.ledger, "tills", "ann")
    assert judge_version("shop") == f"{of_all}/lora"
    assert [judge.judge.version for judge in judges_of(project)] == [of_all]
    assert target_of(project, "shop") == "judge"


def test_a_champion_of_a_causal_judge_stands_in_the_place_of_its_adapter(
    project: Project,
) -> None:
    local = GenerativeSettings(kind="local", model="small", adapter="by hand")
    settings = project.settings.model_copy(
        update={
            "judges": {"small": local, "other": local},
            "targets": {"verdicts": TargetSettings(kind="chat-judge", judge="small")},
        }
    )
    project = replace(project, settings=settings)
    ledger = project.stores.ledger
    register(ledger, "verdicts", "as-it-came", {}, None, None, "test")
    set_alias(ledger, "verdicts", CHAMPION, "as-it-came", "test", "")
    assert adapters_of(project) == {}
    with project.stores.artifacts.new_folder("adapters", "adapter-1") as folder:
        (folder / "a").write_text("")
    register(ledger, "verdicts", "adapter-1", {}, "adapter-1", None, "test")
    set_alias(ledger, "verdicts", CHAMPION, "adapter-1", "test", "")
    found = adapters_of(project)
    assert found == {"small": project.stores.artifacts.path("adapters", "adapter-1")}
    assert adapted_by(local, found.get("small")).adapter == str(found["small"])
    assert adapted_by(local, found.get("other")).adapter == "by hand"
    served = local.model_copy(update={"kind": "endpoint"})
    assert adapted_by(served, found["small"]).adapter == "by hand"
