"""The cascade: what is certified holds, what a judge carries of it, and what it costs."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from flywheel.cli.main import cli
from flywheel.errors import NotEnough
from flywheel.in_use import generative_of, judges_of
from flywheel.judge import configured
from flywheel.judge.cache import VerdictCache
from flywheel.judge.calibrating import store_calibration, stored_calibration
from flywheel.judge.calibration import Calibration
from flywheel.judge.cascade import CERTIFIED, Cascade, Thresholds, cascade_of, certified_rows
from flywheel.judge.cascading import calibrate_generative, cascade_report, left_open
from flywheel.judge.certifying import GRID, Goal, certify, certify_tier, smallest_n
from flywheel.judge.conformal import conformal_rule, conformal_sets
from flywheel.judge.files import KIND, MANIFEST, load_judge, save_judge
from flywheel.judge.judge import Judge, Opinion
from flywheel.judge.lexical import LexicalPrototypes
from flywheel.judge.people import People, design_effect, kish, people_of, session_icc
from flywheel.judge.prompted import PromptedJudge
from flywheel.judge.rubric import Rubric
from flywheel.judge.scoring import no_progress
from flywheel.models.chat import Answer, Prompt
from flywheel.models.embedder import BUNDLED, Embedder, load_embedder
from flywheel.records import LabelledConversation
from flywheel.registry import CHAMPION, register, set_alias
from flywheel.settings import TrainingSettings
from flywheel.statistics import clopper_pearson
from flywheel.store import Project, open_project
from flywheel.store.ledger import Ledger
from flywheel.traces.conversations import InputLevers
from flywheel.training.fit import fit_judge
from tests.chat_double import ChatDouble, Rule, last_text
from tests.conftest import write_lines
from tests.made_up import made_up

LEVERS = InputLevers()
LEXICAL = Thresholds("lexical", 0.9, 0.1, 0.9, 100, 0.91, 0.92, n_error=29, n_fine=40)
CASCADE = Cascade({"lexical": LEXICAL}, 0.9, 0.05)


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    """The bundled embedder, loaded once."""
    return load_embedder(BUNDLED, 1)


@pytest.fixture(scope="module")
def fitted(embedder: Embedder) -> Judge:
    """A judge without an adapter, fitted on forty conversations, with nothing certified."""
    settings = TrainingSettings()
    judge = fit_judge(made_up(40), [], embedder, LEVERS, settings, with_lora=False)[0]
    return replace(judge, cascade=None)


# What a judge carries


def test_a_tier_decides_at_its_thresholds_and_beyond() -> None:
    p = np.array([0.0, 0.1, 0.11, 0.5, 0.89, 0.9, 1.0])
    assert LEXICAL.decides(p).tolist() == [True, True, False, False, False, True, True]
    assert replace(LEXICAL, error_from=None).decides(p).sum() == 2
    empty = replace(LEXICAL, error_from=None, fine_to=None)
    assert empty.is_empty
    assert not empty.decides(p).any()
    # A tier without thresholds decides nothing, and a cascade of such tiers is empty.
    assert CASCADE.decides("lexical", p).sum() == 4
    assert not CASCADE.decides("frozen", p).any()
    assert not CASCADE.is_empty
    assert Cascade({"lexical": empty}).is_empty
    assert Cascade().is_empty


def test_what_is_certified_is_shown_side_by_side() -> None:
    one_side = replace(LEXICAL, tier="frozen", error_from=None, agreement_low_error=None, share=0.5)
    assert certified_rows(Cascade({"lexical": LEXICAL, "frozen": one_side})) == [
        ("lexical", "error", "p >= 0.900", "0.910", "29", "100", "0.0%"),
        ("lexical", "fine", "p <= 0.100", "0.920", "40", "100", "0.0%"),
        ("frozen", "fine", "p <= 0.100", "0.920", "40", "100", "50.0%"),
    ]
    assert certified_rows(None) == []
    assert {len(row) for row in certified_rows(CASCADE)} == {len(CERTIFIED)}


def test_a_cascade_is_read_back_as_it_was() -> None:
    assert cascade_of(json.loads(json.dumps(CASCADE.as_dict()))) == CASCADE


def test_a_judge_without_a_cascade_keeps_its_version(fitted: Judge) -> None:
    with_one = replace(fitted, cascade=CASCADE)
    other = replace(fitted, cascade=replace(CASCADE, target=0.95))
    assert len({fitted.version, with_one.version, other.version}) == 3
    # As it was computed before there were cascades.
    cold = Judge({"lexical": LexicalPrototypes()}, {"lexical": Calibration()}, LEVERS, "lexical")
    assert cold.version == "judge-be83d37efe33"


def test_a_verdict_says_whether_it_is_past_the_threshold() -> None:
    conversations = [row.conversation for row in made_up(3)]
    opinions = [Opinion(logit, 2, "correction", "none") for logit in (3.0, 0.0, -3.0)]
    plain = Judge({"lexical": LexicalPrototypes()}, {"lexical": Calibration()}, LEVERS, "lexical")
    given = plain.verdicts(conversations, opinions, "lexical")
    assert [v.is_decided for v in given] == [None, None, None]
    given = replace(plain, cascade=CASCADE).verdicts(conversations, opinions, "lexical")
    # sigmoid(3) = .953 and sigmoid(-3) = .047 are past .9 and .1.
    assert [v.is_decided for v in given] == [True, False, True]


def test_a_saved_judge_brings_its_cascade_and_an_older_one_has_none(
    fitted: Judge, embedder: Embedder, tmp_path: Path
) -> None:
    judge = replace(fitted, cascade=CASCADE)
    save_judge(judge, tmp_path / "new", {})
    loaded = load_judge(tmp_path / "new", embedder)
    assert (loaded.version, loaded.cascade) == (judge.version, CASCADE)
    save_judge(fitted, tmp_path / "old", {})
    manifest = json.loads((tmp_path / "old" / MANIFEST).read_text(encoding="utf-8"))
    # As it was written before there were cascades.
    del manifest["cascade"]
    (tmp_path / "old" / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")
    loaded = load_judge(tmp_path / "old", embedder)
    assert (loaded.version, loaded.cascade) == (fitted.version, None)


def test_the_newest_calibration_of_a_generative_judge_counts(ledger: Ledger) -> None:
    assert stored_calibration(ledger, "generative-1") is None
    store_calibration(ledger, "generative-1", Calibration(2.0, 1.0), None, 40)
    thresholds = replace(LEXICAL, tier="generative")
    store_calibration(ledger, "generative-1", Calibration(3.0), thresholds, 50, {"file": "a.jsonl"})
    store_calibration(ledger, "generative-2", Calibration(), None, 60)
    found = stored_calibration(ledger, "generative-1")
    assert found is not None
    assert (found.calibration, found.thresholds) == (Calibration(3.0), thresholds)
    assert (found.n_labels, found.about) == (50, {"file": "a.jsonl"})
    assert found.fitted_at.tzinfo is not None


# What is certified


N_DRAWS, MOST_FALSE = 150, 0.05
# Everybody agrees with `fine` on this share of any tier's confident traces: a little too few.
TOO_FEW = 0.895


def drawn(
    seed: int, alike: float, by_doubt: bool = False, n_sessions: int = 220
) -> tuple[np.ndarray, np.ndarray, People]:
    """Two tiers' probabilities, all below .5, and what people said; neither tier knows anything.

    Sessions give one to four traces; with probability `alike` a trace is as its session is. Where
    they are drawn `by_doubt`, those near .5 are labelled up to ten times as often.
    """
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(n_sessions), rng.integers(1, 5, n_sessions))
    n = len(groups)
    first, second = rng.random(n) / 2, rng.random(n) / 2
    own, shared = rng.random(n), rng.random(n_sessions)[groups]
    truth = np.where(rng.random(n) < alike, shared, own) > TOO_FEW
    chance = 0.1 + 1.8 * first if by_doubt else np.ones(n)
    known = rng.random(n) < chance
    return first[known], second[known], People(truth[known], groups[known], 1 / chance[known])


def best_threshold(probability: np.ndarray, people: People, goal: Goal) -> float | None:
    """The classic mistake: of all thresholds whose bound is over the target, the one furthest."""
    found = None
    for threshold in GRID:
        inside = probability <= threshold
        n, agree = int(inside.sum()), int((~people.truth[inside]).sum())
        if n and clopper_pearson(agree, n, 2 * goal.alpha).low >= goal.target:
            found = threshold
    return found


@pytest.mark.parametrize(
    ("alike", "by_doubt"),
    [(0.0, False), (0.6, False), (0.3, True)],
    ids=["alone", "alike", "doubt"],
)
def test_what_is_certified_is_false_in_one_case_of_twenty_at_most(
    alike: float, by_doubt: bool
) -> None:
    certified = mistaken = 0
    for seed in range(N_DRAWS):
        first, second, people = drawn(seed, alike, by_doubt, 400 if by_doubt else 220)
        found = certify({"lexical": first, "frozen": second}, people, Goal())
        # Whatever is certified is false: no share of either tier agrees on .9.
        certified += found.cascade is not None
        mistaken += best_threshold(first, people, Goal()) is not None
    assert certified <= MOST_FALSE * N_DRAWS < mistaken


def test_a_walk_goes_no_further_than_the_agreement_reaches() -> None:
    # .99 agree up to .2 and .5 beyond: at x > .2 it is (.198 + .5 (x - .2)) / x, which is .9 at
    # x = .245.
    beyond = 0
    for seed in range(N_DRAWS):
        rng = np.random.default_rng(seed)
        p = rng.random(1000) / 2
        truth = rng.random(1000) > np.where(p <= 0.2, 0.99, 0.5)
        people = people_of(truth, [str(i) for i in range(1000)])
        found, was_tested = certify_tier("lexical", p, people, 0.9, 0.05)
        assert was_tested
        assert found.fine_to is not None
        assert found.fine_to > 0.18
        beyond += found.fine_to > 0.245
    assert beyond <= MOST_FALSE * N_DRAWS


def test_as_many_labels_are_needed_as_pass_at_all() -> None:
    # .9^29 = .0471 and .9^28 = .0523; .9^36 = .0225 and .9^35 = .0250 (.02503).
    assert smallest_n(0.9, 0.05, 1.0) == 29
    assert smallest_n(0.9, 0.025, 1.0) == 36
    assert smallest_n(0.9, 0.05, 0.9) == 100_000


def test_sessions_and_weights_lessen_a_number_of_labels() -> None:
    assert kish(np.ones(40)) == 40
    # (3 * 1 + 1 * 5)^2 / (3 + 25) = 64 / 28.
    assert kish(np.array([1.0, 1.0, 1.0, 5.0])) == pytest.approx(64 / 28)
    twos = np.repeat(np.arange(20), 2)
    assert design_effect(twos, 0.0) == 1
    assert design_effect(twos, 0.5) == 1.5
    # A label's own session has (1 + 3 * 3) / 4 labels on average.
    assert design_effect(np.array([0, 1, 1, 1]), 1.0) == 2.5
    assert session_icc(twos % 2 == 0, twos) == 1
    assert session_icc(np.arange(40) % 2 == 0, twos) == 0
    assert session_icc(np.arange(40) % 2 == 0, np.arange(40)) == 0


def surely(n: int, wrong: int, truth: bool) -> tuple[np.ndarray, np.ndarray]:
    """`n` traces on which a tier is sure, the last `wrong` of them wrongly."""
    return np.full(n, 0.99 if truth else 0.01), np.where(np.arange(n) < n - wrong, truth, not truth)


def certified_on(*parts: tuple[np.ndarray, np.ndarray], alpha: float = 0.05) -> Thresholds:
    p, truth = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    people = people_of(truth, [str(i) for i in range(len(p))])
    return certify_tier("lexical", p, people, 0.9, alpha)[0]


def test_each_side_is_certified_by_itself_at_its_part_of_alpha() -> None:
    # Two sides at .025: 36 must agree where all do.
    both = certified_on(surely(36, 0, True), surely(36, 0, False))
    assert (both.n_error, both.n_fine) == (36, 36)
    assert both.decides(np.array([0.99, 0.5, 0.01])).tolist() == [True, False, True]
    # .025^(1/36) = .9026.
    assert both.agreement_low_error == pytest.approx(0.9026, abs=1e-4)
    one = certified_on(surely(36, 1, True), surely(60, 0, False))
    assert (one.error_from, one.n_fine) == (None, 60)
    assert "error: 0.972 agree of the 36 surest" in one.why
    assert "more labels would do" in one.why
    # A side that cannot pass takes no alpha: 29 are enough for the other.
    alone = certified_on(surely(20, 0, True), surely(36, 0, False))
    assert alone.agreement_low_fine == pytest.approx(0.05 ** (1 / 36), abs=1e-4)
    assert "error: 20 labels, and 36 would have to agree" in alone.why


def test_a_tier_that_does_not_improve_on_the_one_before_is_left_out() -> None:
    n = 400
    truth = np.arange(n) % 4 == 0
    people = people_of(truth, [str(i) for i in range(n)])
    knows = np.where(truth, 0.99, 0.01)
    # The first knows the first half alone, and is otherwise unsure, but right.
    half = np.where(np.arange(n) < n // 2, knows, np.where(truth, 0.501, 0.499))
    wrong = np.where(truth & (np.arange(n) > 380), 0.01, knows)
    found = certify({"lexical": knows, "frozen": knows}, people, Goal())
    assert found.left_out.keys() == {"frozen"}
    found = certify({"lexical": half, "frozen": knows}, people, Goal())
    assert found.cascade is not None
    assert list(found.cascade.thresholds) == ["lexical", "frozen"]
    assert [one.share for one in found.tried.values()] == [0.5, 0.5]
    found = certify({"lexical": half, "frozen": wrong}, people, Goal())
    assert "the tier before 1.000" in found.left_out["frozen"]
    # One that decides nothing is kept where it is surer of what is left, and so ranks it better.
    rest = np.arange(n) % 2 == 0
    unsure = np.where(truth, 0.7, 0.3)
    found = certify({"lexical": np.where(rest, knows, 0.5), "frozen": unsure}, people, Goal(0.99))
    assert found.cascade is None
    first = certify({"lexical": np.where(rest, knows, 0.5)}, people, Goal())
    assert first.cascade is not None
    vague = np.where(np.arange(n) % 3 == 0, 1 - unsure, unsure)
    found = certify({"lexical": np.where(rest, knows, 0.5), "frozen": vague}, people, Goal())
    assert found.cascade is not None
    assert found.cascade.thresholds["frozen"].is_empty
    # What a tier has learnt from says nothing of it.
    unknown = np.full(n, np.nan)
    assert certify({"lexical": unknown, "frozen": knows}, people, Goal()).cascade is not None


def test_too_few_labels_certify_nothing() -> None:
    for n in (0, 1, 20):
        truth = np.arange(n) % 2 == 0
        people = people_of(truth, [str(i) for i in range(n)])
        found = certify({"lexical": np.where(truth, 0.99, 0.01)}, people, Goal())
        assert found.cascade is None
        assert "would have to agree" in found.left_out["lexical"]
        assert json.loads(json.dumps(found.as_dict()))["is_certified"] is False


def test_a_fit_certifies_what_its_labels_allow_and_says_why_not_else(embedder: Embedder) -> None:
    settings = TrainingSettings()
    few, report = fit_judge(made_up(40), [], embedder, LEVERS, settings, with_lora=False)
    assert few.cascade is None
    assert "would have to agree" in report.certification.left_out["lexical"]
    rows, held = made_up(160), made_up(60, seed=7)
    held = [replace(row, group=f"other-{row.group}") for row in held]
    enough, report = fit_judge(rows, held, embedder, LEVERS, settings, with_lora=False)
    assert enough.cascade is not None
    # Out of fold, and the calibration part: nothing that a model had seen.
    assert enough.cascade.thresholds["lexical"].n == 220
    assert report.certification.tried["lexical"].share > 0.8
    said = json.loads(json.dumps(report.as_dict()))["certification"]
    assert said["is_certified"]
    strict = Goal(0.99, 0.05)
    none, _ = fit_judge(rows, held, embedder, LEVERS, settings, with_lora=False, goal=strict)
    assert none.cascade is None


# Conformal sets


def test_conformal_sets_cover_each_class_as_often_as_they_say() -> None:
    rng = np.random.default_rng(0)
    covered, singles = [], []
    for _ in range(200):
        n = 400
        groups = np.repeat(np.arange(n // 2), 2)
        truth = rng.random(n) < 0.2
        p = 1 / (1 + np.exp(-(rng.normal(0, 1, n) + np.where(truth, 1.5, -1.5))))
        half = groups < n // 4
        people = People(truth[half], groups[half], np.ones(half.sum()))
        sets = conformal_sets(p[~half], p[half], people, 0.1)
        covered.append(list(sets.coverage(truth[~half]).values()))
        singles.append(sets.is_single.mean())
    # Each class by itself, the rare one too, and not by taking both labels every time.
    assert np.mean(covered, axis=0).min() >= 0.9
    assert np.mean(singles) > 0.5


def test_a_set_is_that_of_the_quantiles() -> None:
    # Strangeness of the four errors: .1 .2 .3 .4, and a fifth unknown: 4 of 5 are within .4.
    p, truth = np.array([0.9, 0.8, 0.7, 0.6, 0.5]), np.array([True] * 4 + [False])
    people = people_of(truth, list("abcde"))
    rule = conformal_rule(p, people, 0.2)
    assert rule.strangest_error == pytest.approx(0.4)
    # One label of a class bounds nothing at .8: every set has it.
    assert rule.strangest_fine == 1
    sets = rule.sets(np.array([0.61, 0.59]))
    assert sets.has_error.tolist() == [True, False]
    assert sets.shares() == {"error": 0.0, "fine": 0.5, "both": 0.5, "neither": 0.0}
    unlike = replace(rule, strangest_fine=0.1).sets(np.array([0.3]))
    assert unlike.shares()["neither"] == 1
    assert not unlike.is_single.any()
    nobody = conformal_rule(p[:0], people.take(np.zeros(5, bool)), 0.1)
    assert nobody.sets(p).shares()["both"] == 1


# The cascade at work


def by_colour(prompt: Prompt) -> bool:
    """Whether the last thing said is grey, which in `made_up` is an error."""
    return "grey" in last_text(prompt).lower()


def generative_by(
    rule: Rule = by_colour, thresholds: Thresholds | None = None, **fields: Any
) -> PromptedJudge:
    rubric = Rubric("1", "Does the user see a mistake?")
    return PromptedJudge("double", ChatDouble(rule, **fields), rubric, thresholds=thresholds)


@pytest.fixture
def cache(project: Project) -> VerdictCache:
    """The verdict cache of an empty project."""
    return VerdictCache(project.stores.ledger)


def lexical_judge(cascade: Cascade | None) -> Judge:
    """A judge of the lexical prototypes alone."""
    models, calibrations = {"lexical": LexicalPrototypes()}, {"lexical": Calibration()}
    return Judge(models, calibrations, LEVERS, "lexical", cascade)


def median_of(judge: Judge, rows: Sequence[LabelledConversation]) -> float:
    conversations = [row.conversation for row in rows]
    opinions = judge.opinions(conversations, "lexical")
    return float(
        np.median([v.probability for v in judge.verdicts(conversations, opinions, "lexical")])
    )


def test_every_trace_is_decided_once_or_left_for_people(cache: VerdictCache) -> None:
    rows = made_up(40)
    lexical = replace(LEXICAL, error_from=None, fine_to=median_of(lexical_judge(None), rows))
    judge = lexical_judge(Cascade({"lexical": lexical}))
    said_so = Thresholds("generative", 0.8, None, 0.9, 100, 0.93, None)
    report = cascade_report(cache, judge, generative_by(thresholds=said_so), rows, 0.0, no_progress)
    first, last = report.tiers
    assert (first.tier, first.asked, first.decided, first.share) == ("lexical", 40, 20, 0.5)
    # It decides nothing but what it says is fine: of its errors none, of the others all.
    assert (first.tpr, first.tnr) in ((0.0, 1.0), (None, 1.0), (0.0, None))
    assert (last.tier, last.asked) == ("generative", 20)
    # The double is always right, and decides what it calls an error.
    assert last.decided == sum(row.perceived_error for row in left_rows(judge, rows))
    assert (last.tpr, last.tnr) == (1.0, None)
    assert (last.certified_error, last.certified_fine) == (0.93, None)
    assert last.agreement is not None
    assert last.agreement.estimate == 1
    assert report.share_for_people == (40 - 20 - last.decided) / 40
    # 20 replies at a tenth of a cent: half a dollar per 1,000 traces, one where it reads all.
    assert report.usd_per_1000 == pytest.approx(0.5)
    assert report.usd_per_1000_top_alone == pytest.approx(1.0)
    with pytest.raises(NotEnough, match="labelled conversations"):
        cascade_report(cache, judge, None, [], 0.0, no_progress)


def left_rows(judge: Judge, rows: list[LabelledConversation]) -> list[LabelledConversation]:
    return [row for row, is_left in zip(rows, left_open(judge, rows), strict=True) if is_left]


def test_without_thresholds_everything_is_left_for_people(cache: VerdictCache) -> None:
    report = cascade_report(cache, lexical_judge(None), None, made_up(6), 3600.0, no_progress)
    (only,) = report.tiers
    assert (only.decided, only.agreement, only.sets) == (0, None, {})
    assert report.share_for_people == 1
    # A dollar a CPU second: whatever it took is billed.
    assert report.usd_per_1000 == report.usd_per_1000_top_alone > 0


def test_a_generative_judge_is_certified_on_what_is_left_and_was_not_learnt(
    cache: VerdictCache,
) -> None:
    rows, learnt = made_up(400), [replace(r, group=f"x{r.group}") for r in made_up(20, seed=3)]
    lexical = replace(LEXICAL, error_from=None, fine_to=median_of(lexical_judge(None), rows))
    judge, generative = lexical_judge(Cascade({"lexical": lexical})), generative_by()
    found = calibrate_generative(cache, generative, judge, rows, learnt, Goal(), no_progress)
    assert found.n_labels == 420
    assert found.n_left_open == left_open(judge, rows).sum() < 400
    assert found.calibration.slope > 1
    assert found.thresholds is not None
    assert found.thresholds.n == found.n_left_open
    stored = stored_calibration(cache.ledger, generative.opinion_version)
    assert stored is not None
    assert (stored.calibration, stored.thresholds) == (found.calibration, found.thresholds)
    # What it was asked before it is not asked again.
    asked = len(generative.model.asked)
    calibrate_generative(cache, generative, judge, rows, learnt, Goal(), no_progress)
    assert len(generative.model.asked) == asked
    # What its own adapter has learnt calibrates nothing.
    own = calibrate_generative(
        cache, generative, judge, rows, learnt, Goal(), no_progress, has_learnt=True
    )
    assert own.n_labels == 400
    # A panel's label measures no judge.
    theirs = [replace(row, is_by_people=False) for row in learnt]
    again = calibrate_generative(cache, generative, judge, rows, theirs, Goal(), no_progress)
    assert again.n_labels == 400


def test_a_generative_judge_that_knows_nothing_certifies_nothing(cache: VerdictCache) -> None:
    always = generative_by(lambda _: True)
    found = calibrate_generative(
        cache, always, lexical_judge(None), made_up(80), [], Goal(), no_progress
    )
    assert found.thresholds is None
    assert found.why
    silent = generative_by(lambda _: Answer("", failure="failed", why="cut off"), name="silent")
    with pytest.raises(NotEnough, match=r"replies of double .*failed"):
        calibrate_generative(
            cache, silent, lexical_judge(None), made_up(4), [], Goal(), no_progress
        )


def run(folder: Path, *arguments: str) -> Result:
    return CliRunner().invoke(cli, ["--project", str(folder), "judge", *arguments])


def test_the_cascade_is_reported_and_a_judge_calibrated_from_the_shell(
    fitted: Judge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(configured, "_model", lambda *_: ChatDouble(by_colour))
    project = tmp_path / "project"
    project.mkdir()
    (project / "flywheel.toml").write_text("[judges.double]\nmodel = 'm'\n", encoding="utf-8")
    labels = write_lines(
        tmp_path / "labels.jsonl",
        [
            {
                "trace_id": row.conversation.trace_id,
                "session_id": row.group,
                "messages": [{"role": t.role, "content": t.text} for t in row.conversation.turns],
                "label": {"perceived_error": row.perceived_error},
            }
            for row in made_up(100, seed=2)
        ],
    )
    save_judge(replace(fitted, cascade=CASCADE), tmp_path / "judge", {})
    options = ["--labels", str(labels), "--adapter", str(tmp_path / "judge")]
    done = run(project, "cascade", *options, "--json")
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert [tier["tier"] for tier in report["tiers"]] == ["lexical"]
    assert report["tiers"][0]["certified_fine"] == 0.92
    done = run(project, "calibrate", "double", "--labels", str(labels), "--limit", "90", "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    # Alone it has all of alpha: 36 on each side are enough, and there are 45.
    assert (found["n_labels"], found["thresholds"]["tier"]) == (90, "generative")
    done = run(project, "cascade", *options, "--judge", "double")
    assert done.exit_code == 0, done.output
    assert "generative" in done.stdout
    assert "are left for people" in done.stderr
    done = run(project, "calibrate", "double")
    assert "0 replies of double (no labels)" in str(done.exception)


def labels_of(app: str, seed: int) -> list[dict[str, object]]:
    """A hundred labelled lines of an application."""
    return [
        {
            "trace_id": f"{app}-{row.conversation.trace_id}",
            "app": app,
            "session_id": f"{app}-{row.group}",
            "messages": [{"role": t.role, "content": t.text} for t in row.conversation.turns],
            "label": {"perceived_error": row.perceived_error},
        }
        for row in made_up(100, seed=seed)
    ]


def crowned(project: Project, target: str, judge: Judge) -> str:
    """The judge as champion of a target."""
    with project.stores.artifacts.new_folder(KIND, judge.version) as folder:
        save_judge(judge, folder, {})
    register(project.stores.ledger, target, judge.version, {}, judge.version, None, "test")
    set_alias(project.stores.ledger, target, CHAMPION, judge.version, "test", "")
    return judge.version


def test_an_applications_own_judge_has_a_certificate_of_its_own(
    fitted: Judge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(configured, "_model", lambda *_: ChatDouble(by_colour))
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "flywheel.toml").write_text(
        "[judge]\ngenerative = 'double'\n[judges.double]\nmodel = 'm'\n"
        "[targets.tills]\nkind = 'judge'\napps = ['shop']\n",
        encoding="utf-8",
    )
    project = open_project(folder)
    of_all = crowned(project, "judge", fitted)
    done = run(folder, "calibrate", "double", "--target", "tills")
    assert done.exit_code == 1
    assert str(done.exception).endswith("whose champion reads traces; these are: judge")
    of_shop = crowned(project, "tills", replace(fitted, best="lexical"))
    labels = write_lines(
        tmp_path / "labels.jsonl",
        [*labels_of("shop", 2), *labels_of("bank", 3)],
    )
    done = run(folder, "calibrate", "double", "--labels", str(labels), "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["n_labels"] == 100
    assert "100 labels are of applications that another judge reads" in done.stderr
    assert f"behind the judge of tills ({of_shop}) double decides nothing" in done.stderr
    assert "`flywheel judge calibrate double --target tills`" in done.stderr
    assert certified(project) == {of_all: True, of_shop: False}
    done = run(folder, "cascade", "--labels", str(labels), "--target", "tills", "--judge", "double")
    assert done.exit_code == 0, done.output
    assert "it was never measured there" in done.stderr
    done = run(folder, "calibrate", "double", "--labels", str(labels), "--target", "tills")
    assert done.exit_code == 0, done.output
    assert "decides nothing" not in done.stderr
    # What was certified behind the one stands, and so does its calibration.
    assert certified(project) == {of_all: True, of_shop: True}
    newest = generative_of(project, levers=LEVERS)
    assert newest is not None
    assert newest.certified_after == of_all


def certified(project: Project) -> dict[str, bool]:
    """Whether the generative judge may decide, behind each judge that reads traces."""
    return {
        each.judge.version: each.generative.after(each.judge.version).thresholds is not None
        for each in judges_of(project)
        if each.generative is not None
    }
