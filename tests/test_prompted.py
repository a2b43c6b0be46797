"""The generative judge: opinions and verdicts from any chat model, and none is paid for twice."""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from flywheel.cli.main import cli
from flywheel.errors import BadSetting, NotEnough, NotFound
from flywheel.in_use import generative_of, levers_of
from flywheel.judge import configured
from flywheel.judge.cache import Asked, VerdictCache, generative_opinions
from flywheel.judge.calibrating import store_calibration
from flywheel.judge.calibration import Calibration
from flywheel.judge.cascade import Thresholds
from flywheel.judge.evaluation import calibrated_on, evaluate_prompted, uniform_subset
from flywheel.judge.judge import Opinion
from flywheel.judge.prompted import Example, PromptedJudge, Unjudged
from flywheel.judge.rubric import Rubric
from flywheel.judge.scoring import no_progress
from flywheel.models import smollm2
from flywheel.models.chat import Answer, Prompt
from flywheel.records import Conversation, LabelledConversation
from flywheel.store import Project, open_project
from flywheel.store.ledger import Ledger
from flywheel.traces.conversations import InputLevers
from tests.chat_double import ChatDouble, Rule
from tests.conftest import write_lines
from tests.test_prompts import conversation, example

RUBRIC = Rubric("1", "Does the user say that the assistant made a mistake?")


def reply(label: bool, code: str = "rejection", reason: str = "They say no.") -> str:
    return json.dumps({"perceived_error": label, "reason_code": code, "reason": reason})


def of_words(prompt: Prompt) -> Answer:
    """Yes where the log's last line says no."""
    is_error = "No" in prompt.messages[-1].content.splitlines()[-3]
    said = reply(is_error, "rejection" if is_error else "none")
    return Answer(said, 0.9 if is_error else 0.2, 100, 20, cost_usd=0.01, latency_ms=5.0)


class Backwards(ChatDouble):
    """Answers the last prompt first, since a judge may not rely on their order."""

    def answers(self, prompts: Sequence[Prompt]) -> Iterator[tuple[int, Answer]]:
        for index in reversed(range(len(prompts))):
            ((_, answer),) = super().answers([prompts[index]])
            yield index, answer


def judge_with(rule: Rule = of_words, **fields: object) -> PromptedJudge:
    return PromptedJudge("scripted", Backwards(rule), RUBRIC, **fields)  # type: ignore[arg-type]


def always(answer: Answer) -> PromptedJudge:
    return judge_with(lambda _: answer)


def opinion_of(answer: Answer, *texts: str) -> Opinion | Unjudged:
    """What a judge makes of one conversation when the model answers this."""
    talk = conversation(*texts or ("Open a.txt", "I opened b.txt.", "No, the other one."))
    ((_, opinion),) = always(answer).opinions([talk], [()])
    return opinion


def labelled(n: int) -> list[LabelledConversation]:
    """Half of them complaints; each its own session, a tenth labelled against its words."""
    rows = []
    for number in range(n):
        is_error = number % 2 == 0
        talk = conversation(f"Open {number}.txt", "Done.", "No!" if is_error else "Thanks")
        talk = replace(talk, trace_id=f"t{number}", session_id=f"s{number}")
        rows.append(LabelledConversation(talk, is_error != (number % 10 == 0), f"s{number}"))
    return rows


# Opinions


def test_a_logit_is_that_of_the_labels_probability() -> None:
    opinion = opinion_of(Answer(reply(True), 0.8))
    assert isinstance(opinion, Opinion)
    assert opinion.logit == pytest.approx(math.log(4))


@pytest.mark.parametrize(("probability", "odds"), [(0.0, 1e-4), (1.0, 1 - 1e-4)])
def test_no_model_is_surer_than_a_bound(probability: float, odds: float) -> None:
    opinion = opinion_of(Answer(reply(True), probability))
    assert isinstance(opinion, Opinion)
    assert opinion.logit == pytest.approx(math.log(odds / (1 - odds)))


@pytest.mark.parametrize(("label", "logit"), [(True, 2.0), (False, -2.0)])
def test_a_bare_label_has_a_logit_of_two(label: bool, logit: float) -> None:
    opinion = opinion_of(Answer(reply(label, "none"), None))
    assert isinstance(opinion, Opinion)
    assert opinion.logit == logit


def test_a_reply_that_cannot_be_read_is_counted_with_what_it_cost() -> None:
    opinion = opinion_of(Answer("I think so.", None, 100, 4, 0.02))
    assert isinstance(opinion, Unjudged)
    assert (opinion.kind, opinion.cost_usd, opinion.prompt_tokens) == ("unparsed", 0.02, 100)
    assert "I think so." in opinion.why


@pytest.mark.parametrize("kind", ["refused", "failed", "too_long", "budget"])
def test_a_failure_keeps_its_kind_and_why(kind: str) -> None:
    opinion = opinion_of(Answer("", failure=kind, why="because"))  # type: ignore[arg-type]
    assert (opinion.kind, opinion.why) == (kind, "because")  # type: ignore[union-attr]


def test_a_code_that_does_not_fit_the_verdict_is_replaced() -> None:
    """The label is what the probability is of; both verdicts have a code that goes with them."""
    opinion = opinion_of(Answer(reply(True, "positive"), 0.8))
    assert isinstance(opinion, Opinion)
    assert opinion.code_if_fine == "positive"
    assert opinion.code_if_error not in ("positive", "none")
    both = opinion_of(Answer(reply(True, "clarification_request"), 0.8))
    assert isinstance(both, Opinion)
    assert both.code_if_error == both.code_if_fine == "clarification_request"


@pytest.mark.parametrize(
    ("reason", "position"),
    [
        ("They say no.", 4),
        ("Message 2 rejects it.", 2),
        ("See #1.", 1),
        ("In message 77 and message 2.", 2),
        ("Turn 3 takes it back.", 3),
    ],
)
def test_the_evidence_is_the_message_that_the_reason_names(reason: str, position: int) -> None:
    talk = ("Open a.txt", "Opened b.txt", "No", "Sorry. Opened a.txt", "Thanks")
    opinion = opinion_of(Answer(reply(True, reason=reason), 0.8), *talk)
    assert isinstance(opinion, Opinion)
    assert opinion.position == position


# Verdicts


def test_a_verdict_is_calibrated_names_its_cases_and_says_whether_it_decides() -> None:
    judge = judge_with(
        few_shots=1,
        calibration=Calibration(slope=2.0, bias=0.5),
        thresholds=Thresholds("generative", 0.95, None, 0.9),
    )
    talks = [row.conversation for row in labelled(2)]
    shown: list[list[Example]] = [[example(), replace(example(), correction_id="c2")], []]
    opinions: list[Opinion | Unjudged] = [Unjudged("failed", "")] * 2
    for index, opinion in judge.opinions(talks, shown):
        opinions[index] = opinion
    error, fine = judge.verdicts(talks, opinions, shown)
    assert error.probability == pytest.approx(1 / (1 + math.exp(-2 * math.log(9) - 0.5)))
    assert (error.few_shot_ids, error.is_decided, error.tier) == (("c1",), True, "generative")
    assert (fine.perceived_error, fine.few_shot_ids, fine.is_decided) == (False, (), False)
    assert error.reason == "rejection at message 2: They say no."
    assert (error.cost_usd, error.prompt_tokens, error.completion_tokens) == (0.01, 100, 20)


def test_what_has_no_opinion_has_no_verdict() -> None:
    talks = [row.conversation for row in labelled(3)]
    opinion = opinion_of(Answer(reply(True), 0.8))
    given = judge_with().verdicts(talks, [None, opinion, Unjudged("refused", "")], [()] * 3)
    assert [verdict.trace_id for verdict in given] == ["t1"]
    assert given[0].is_decided is None


def test_a_version_changes_with_all_that_it_depends_on() -> None:
    judge = judge_with()
    others = [
        replace(judge, rubric=Rubric("2", "Other words.")),
        replace(judge, few_shots=3),
        replace(judge, model=Backwards(of_words, "other")),
    ]
    versions = {each.opinion_version for each in [judge, *others]}
    assert len(versions) == 4
    calibrated = replace(judge, calibration=Calibration(slope=2.0))
    certified = replace(judge, thresholds=Thresholds("generative", 0.9, 0.1, 0.9))
    assert calibrated.opinion_version == certified.opinion_version == judge.opinion_version
    assert len({each.version for each in (judge, calibrated, certified)}) == 3


# The cache


def test_nothing_is_asked_twice(project: Project) -> None:
    cache, talks = VerdictCache(project.stores.ledger), [row.conversation for row in labelled(6)]
    judge = judge_with()
    first, known = generative_opinions(cache, judge, talks, [()] * 6, no_progress)
    again, known_again = generative_opinions(cache, judge_with(), talks, [()] * 6, no_progress)
    assert (known, known_again) == (0, 6)
    assert first == again


def test_other_cases_are_another_question(project: Project) -> None:
    cache, talks = VerdictCache(project.stores.ledger), [row.conversation for row in labelled(1)]
    judge = judge_with(few_shots=2)
    shown: list[list[list[Example]]] = [[[]], [[example()]], [[example()]]]
    known = [generative_opinions(cache, judge, talks, each, no_progress)[1] for each in shown]
    assert known == [0, 0, 1]


def test_the_same_text_in_two_traces_is_asked_once(project: Project) -> None:
    talk = labelled(1)[0].conversation
    talks: list[Conversation] = [talk, replace(talk, trace_id="other")]
    judge = judge_with()
    opinions, _ = generative_opinions(
        VerdictCache(project.stores.ledger), judge, talks, [()] * 2, no_progress
    )
    assert opinions[0] == opinions[1]
    assert len(judge.model.asked) == 1  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("answer", "times"),
    [
        (Answer("prose", None, 10, 2, 0.5), 1),
        (Answer("", failure="refused", why="no", cost_usd=0.5), 1),
        (Answer("", failure="failed", why="silence"), 2),
        (Answer("", failure="budget", why="spent"), 2),
        (Answer("", failure="too_long", why="long"), 2),
    ],
)
def test_what_was_paid_for_is_kept_and_what_was_not_is_asked_again(
    project: Project, answer: Answer, times: int
) -> None:
    cache, talks = VerdictCache(project.stores.ledger), [row.conversation for row in labelled(1)]
    judge = always(answer)
    for _ in range(2):
        ((opinion,), _) = generative_opinions(cache, judge, talks, [()], no_progress)
        assert isinstance(opinion, Unjudged)
    assert len(judge.model.asked) == times  # type: ignore[attr-defined]


def test_the_opinion_of_the_run_that_came_first_stays(ledger: Ledger) -> None:
    class Late(VerdictCache):
        """Looked when nothing was there yet."""

        def read(self, version: str, asked: Sequence[Asked]) -> dict[Asked, Opinion | Unjudged]:
            return {}

    first, second = (Unjudged("unparsed", why) for why in ("first", "second"))
    Late(ledger).add("v", {("text", ""): first})
    Late(ledger).add("v", {("text", ""): second, ("other", ""): second})
    kept = VerdictCache(ledger).read("v", [("text", ""), ("other", "")])
    assert kept == {("text", ""): first, ("other", ""): second}


def test_a_run_that_is_killed_keeps_what_it_paid_for(project: Project) -> None:
    cache, talks = VerdictCache(project.stores.ledger), [row.conversation for row in labelled(5)]

    class Killed(BaseException):
        """Ends the process, as far as the library can tell."""

    def dies(prompt: Prompt) -> Answer:
        if "Open 1.txt" in prompt.messages[-1].content:
            raise Killed
        return of_words(prompt)

    with pytest.raises(Killed):
        generative_opinions(cache, judge_with(dies), talks, [()] * 5, no_progress)
    judge = judge_with()
    _, known = generative_opinions(cache, judge, talks, [()] * 5, no_progress)
    assert (known, len(judge.model.asked)) == (3, 2)  # type: ignore[attr-defined]


# Evaluation


def test_a_generative_judge_is_evaluated_through_the_cache(project: Project) -> None:
    cache = VerdictCache(project.stores.ledger)
    found = evaluate_prompted(cache, judge_with(), labelled(20), no_progress)
    assert (found.card.n, found.from_cache, found.unjudged) == (20, 0, {})
    assert found.card.rates["accuracy"].estimate == 0.9
    # One cent each.
    assert found.cost_per_1000_usd == pytest.approx(10.0)
    again = evaluate_prompted(cache, judge_with(), labelled(20), no_progress)
    assert (again.from_cache, again.traces_per_s, again.card) == (20, None, found.card)
    assert again.cost_per_1000_usd == pytest.approx(10.0)


def test_what_was_not_judged_is_counted_beside_the_card(project: Project) -> None:
    def half(prompt: Prompt) -> Answer:
        is_error = of_words(prompt).label_probability == 0.9
        return of_words(prompt) if is_error else Answer("", failure="refused", why="no")

    cache = VerdictCache(project.stores.ledger)
    found = evaluate_prompted(cache, judge_with(half), labelled(10), no_progress)
    assert (found.card.n, found.unjudged) == (5, {"refused": 5})
    with pytest.raises(NotEnough, match="no key"):
        evaluate_prompted(
            VerdictCache(project.stores.ledger),
            replace(always(Answer("", failure="failed", why="no key")), few_shots=1),
            labelled(2),
            no_progress,
        )


def test_platt_scaling_is_fitted_on_other_labels(project: Project) -> None:
    cache, judge = VerdictCache(project.stores.ledger), judge_with()
    calibrated = calibrated_on(cache, judge, labelled(100), no_progress)
    assert calibrated.calibration.slope > 0
    assert calibrated.opinion_version == judge.opinion_version
    found = evaluate_prompted(cache, calibrated, labelled(40), no_progress)
    raw = evaluate_prompted(cache, judge, labelled(40), no_progress)
    assert found.card.rates["ece"].estimate < raw.card.rates["ece"].estimate
    assert calibrated_on(cache, judge, labelled(10), no_progress) == judge


def test_a_subset_is_the_same_each_time_and_part_of_a_larger_one() -> None:
    rows = labelled(50)
    few, more = ({row.conversation.trace_id for row in uniform_subset(rows, n)} for n in (10, 20))
    assert (len(few), few < more) == (10, True)
    assert uniform_subset(rows, None) == uniform_subset(rows, 99) == rows


# Of a project

LOCAL = """
[judge]
generative = "small"
few_shots = 2
[judges.small]
kind = "local"
model = "SmolLM2-135M-Instruct"
max_reply_tokens = 8
[judges.nameless]
kind = "local"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "flywheel.toml").write_text(LOCAL)
    write_lines(
        tmp_path / "labels.jsonl",
        [
            {
                "trace_id": row.conversation.trace_id,
                "session_id": row.group,
                "messages": [{"role": t.role, "content": t.text} for t in row.conversation.turns],
                "label": {"perceived_error": row.perceived_error},
            }
            for row in labelled(40)
        ]
        + [{"trace_id": "alone", "messages": [{"role": "user", "content": "Hello"}]}],
    )
    return tmp_path


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> Backwards:
    """In place of whatever model a project names."""
    model = Backwards(of_words)
    monkeypatch.setattr(configured, "_model", lambda *_: model)
    return model


def test_a_project_without_a_generative_judge_has_none(project: Project) -> None:
    assert generative_of(project) is None
    with pytest.raises(NotFound, match="none exists yet"):
        generative_of(project, "small")


def test_a_judge_is_found_by_its_name(folder: Path, scripted: Backwards) -> None:
    project = open_project(folder)
    found = generative_of(project)
    assert found is not None
    assert (found.name, found.few_shots, found.model) == ("small", 2, scripted)
    with pytest.raises(NotFound, match="did you mean 'small'"):
        generative_of(project, "smal")


def test_a_calibration_is_of_what_is_read_of_a_turn(folder: Path, scripted: Backwards) -> None:
    project = open_project(folder)
    cut = InputLevers(10)
    whole, of_cut = generative_of(project), generative_of(project, levers=cut)
    assert whole is not None
    assert of_cut is not None
    assert whole.opinion_version != of_cut.opinion_version
    assert (whole.levers, of_cut.levers) == (levers_of(project), cut)
    # Whoever reads the settings' way has the levers of the settings in the version.
    assert replace(whole, levers=InputLevers()).opinion_version != whole.opinion_version
    store_calibration(project.stores.ledger, of_cut.opinion_version, Calibration(3.0), None, 9)
    found = generative_of(project), generative_of(project, levers=cut)
    assert [judge.calibration.slope for judge in found if judge] == [1.0, 3.0]


def test_a_judge_without_a_model_says_what_to_set(folder: Path) -> None:
    with pytest.raises(BadSetting, match="nameless"):
        generative_of(open_project(folder), "nameless")


def test_a_judge_follows_the_newest_calibration(folder: Path, scripted: Backwards) -> None:
    project = open_project(folder)
    raw = generative_of(project)
    assert raw is not None
    thresholds = Thresholds("generative", 0.9, None, 0.9)
    for slope in (2.0, 3.0):
        store_calibration(
            project.stores.ledger, raw.opinion_version, Calibration(slope), thresholds, 100
        )
    found = generative_of(project)
    assert found is not None
    assert (found.calibration.slope, found.thresholds) == (3.0, thresholds)
    assert found.opinion_version == raw.opinion_version


def run(folder: Path, *arguments: str) -> str:
    done = CliRunner().invoke(cli, ["--project", str(folder), "judge", *arguments])
    assert done.exit_code == 0, done.output + str(done.exception)
    return done.stdout


def test_the_command_evaluates_a_generative_judge(folder: Path, scripted: Backwards) -> None:
    labels = str(folder / "labels.jsonl")
    for name in ("small", "generative"):
        out = run(
            folder, "evaluate", "--judge", name, "--labels", labels, "--limit", "10", "--json"
        )
        report = json.loads(out)
        assert (report["n"], report["unjudged"], report["skipped"]["not eligible"]) == (10, {}, 1)
        assert report["judge"].startswith("generative-")
    assert len(scripted.asked) == 10
    out = run(folder, "evaluate", "--judge", "small", "--labels", labels, "--calibrate", labels)
    assert "cost_per_1000_usd" in out
    assert len(scripted.asked) == 40


def test_the_command_scores_with_a_generative_judge(folder: Path, scripted: Backwards) -> None:
    rows = [
        json.loads(x)
        for x in run(folder, "score", "--judge", "small", str(folder / "labels.jsonl")).splitlines()
    ]
    assert len(rows) == 41
    assert rows[0]["trace_id"] == "t0"
    assert rows[0]["tier"] == "generative"
    assert rows[-1] == {"trace_id": "alone", "skipped": "not eligible"}
    scripted.rule = lambda _: Answer("", failure="refused", why="no")
    scripted.name = "other"
    rows = [
        json.loads(x)
        for x in run(folder, "score", "--judge", "small", str(folder / "labels.jsonl")).splitlines()
    ]
    assert rows[0] == {"trace_id": "t0", "skipped": "refused", "why": "no"}


def test_a_name_that_is_neither_a_tier_nor_a_judge_is_refused(folder: Path) -> None:
    done = CliRunner().invoke(
        cli, ["--project", str(folder), "judge", "score", "--judge", "smal", "x"]
    )
    assert isinstance(done.exception, NotFound)
    assert "did you mean 'small'" in str(done.exception)


@pytest.mark.skipif(not smollm2.is_prepared(), reason="run `make smollm2`")
def test_the_command_evaluates_the_local_model(folder: Path) -> None:
    arguments = ("--judge", "small", "--labels", str(folder / "labels.jsonl"), "--limit", "2")
    report = json.loads(run(folder, "evaluate", *arguments, "--json"))
    assert (report["n"], report["unjudged"]) == (2, {})
    assert report["cost_per_1000_usd"] > 0
    assert report["traces_per_s"] > 0
