"""Rubric files: what one has to say, who reads it, and what is stored of what the judge says."""

import json
from datetime import date
from pathlib import Path

import pytest

from flywheel.errors import NotFound
from flywheel.in_use import rubrics_of
from flywheel.judge.prompted import PromptedJudge
from flywheel.judge.rubric import load_rubric
from flywheel.judge.rubric_metrics import NO_JUDGE, RubricReport, score_day_by_rubrics
from flywheel.loop import score_rubrics
from flywheel.metrics.files import EXAMPLES
from flywheel.metrics.rubric_files import RubricMetric, read_rubric, read_rubrics
from flywheel.models.chat import Answer, Prompt
from flywheel.records import unit_hash
from flywheel.store import Project
from flywheel.traces.conversations import InputLevers
from flywheel.traces.sampling import sample_day
from tests.chat_double import ChatDouble, Rule, last_text, replied
from tests.conftest import trace
from tests.judged import DAY, add_traces

LEVERS = InputLevers()
HEADER = {
    "name": "promises_a_date",
    "level": "trace",
    "direction": "lower_is_better",
    "owner": "support",
    "review_due": "2027-01-31",
}
RUBRIC = "# Does the assistant promise a date?\n\nYes where it names a day; no otherwise.\n"


def rubric_file(folder: Path, text: str = RUBRIC, stem: str = "date", **header: str | None) -> Path:
    """A rubric with a whole header, but for the lines that are given; None leaves one out."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [f"{key}: {value}" for key, value in (HEADER | header).items() if value is not None]
    path = folder / f"{stem}.md"
    path.write_text("\n".join(["---", *lines, "---", text]), encoding="utf-8")
    return path


def names_a_day(prompt: Prompt) -> bool:
    return "Friday" in last_text(prompt)


def judge(rule: Rule = names_a_day) -> PromptedJudge:
    """As the project's own generative judge is: of errors, with five cases."""
    return PromptedJudge("double", ChatDouble(rule), load_rubric(Path("nowhere")), few_shots=5)


def asked(of: PromptedJudge) -> list[Prompt]:
    assert isinstance(of.model, ChatDouble)
    return of.model.asked


def score(
    project: Project, of: PromptedJudge | None, *metrics: RubricMetric, limit: int = 100
) -> list[RubricReport]:
    return score_day_by_rubrics(project.stores, metrics, lambda _: of, LEVERS, DAY, limit)


def warehouse_rows(project: Project, statement: str) -> list[dict[str, object]]:
    with project.stores.warehouse.open() as connection:
        found: list[dict[str, object]] = (
            connection.raw.execute(statement).to_arrow_table().to_pylist()
        )
    return found


@pytest.fixture
def day(project: Project) -> Project:
    """Ten traces with a promise, ten without and one that nobody reacts to, all in the sample."""
    stores = project.stores
    when = ("on Friday", "soon")
    traces = [
        trace(f"t{i:02}", f"Parcel {i}?", f"It comes {when[i % 2]}.", "Fine") for i in range(20)
    ]
    add_traces(stores, [*traces, trace("silent", "When?", "On Friday.")])
    sample_day(stores, DAY, 1.0, 50)
    return project


@pytest.fixture
def metric(tmp_path: Path) -> RubricMetric:
    return read_rubric(rubric_file(tmp_path))


# Files


def test_a_rubric_file_says_whose_it_is_and_what_is_yes(tmp_path: Path) -> None:
    found = read_rubric(rubric_file(tmp_path, judge="small", sample="50"))
    assert (found.name, found.owner, found.review_due) == (
        "promises_a_date",
        "support",
        date(2027, 1, 31),
    )
    assert (found.judge, found.sample) == ("small", 50)
    assert found.rubric == RUBRIC.strip()
    assert found.description == "Does the assistant promise a date?"


def test_a_rubric_without_a_judge_or_a_sample_goes_by_the_projects(metric: RubricMetric) -> None:
    assert (metric.judge, metric.sample) == ("", None)


def test_the_version_is_that_of_the_name_and_the_rubric(
    tmp_path: Path, metric: RubricMetric
) -> None:
    later = read_rubric(rubric_file(tmp_path, review_due="2028-01-31"))
    other = read_rubric(rubric_file(tmp_path, RUBRIC + "Or an hour."))
    renamed = read_rubric(rubric_file(tmp_path, name="names_a_date"))
    assert later.version == metric.version
    assert len({metric.version, other.version, renamed.version}) == 3


@pytest.mark.parametrize(
    ("header", "why"),
    [
        ({"owner": None}, "lacks the header line 'owner: ...'"),
        ({"review_due": "soon"}, "no date such as 2027-06-01"),
        ({"direction": "up"}, "it is one of lower_is_better"),
        ({"level": "turn"}, "a rubric is of a whole trace"),
        ({"name": "Promises"}, "not made of a-z, 0-9 and _"),
        ({"name": "perceived_error"}, "is the judge's"),
        ({"name": "reason"}, "another key of a judge's reply"),
        ({"sample": "all"}, "no number of traces a day such as 100"),
        ({"smaple": "5"}, "unknown header 'smaple'"),
    ],
)
def test_a_wrong_header_is_refused_with_what_would_be_right(
    tmp_path: Path, header: dict[str, str | None], why: str
) -> None:
    rubric_file(tmp_path, **header)
    found, (refused,) = read_rubrics(tmp_path)
    assert found == []
    assert why in str(refused)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("# A rubric\n\nwithout a header", "lacks the block between two lines of ---"),
        ("---\nname promises\n---\nYes or no.", "not of the form 'key: value'"),
        ("---\nname: a\nname: b\n---\nYes or no.", "stands there twice"),
    ],
)
def test_a_file_that_is_no_rubric_is_refused(tmp_path: Path, text: str, why: str) -> None:
    (tmp_path / "date.md").write_text(text, encoding="utf-8")
    assert why in str(read_rubrics(tmp_path)[1][0])


def test_a_rubric_without_a_word_is_refused(tmp_path: Path) -> None:
    rubric_file(tmp_path, "\n")
    assert "lacks the rubric below its header" in str(read_rubrics(tmp_path)[1][0])


def test_one_bad_file_stops_no_other_and_a_name_is_taken_once(tmp_path: Path) -> None:
    rubric_file(tmp_path, stem="a")
    rubric_file(tmp_path, stem="b")
    rubric_file(tmp_path, stem="c", name="refusal")
    found, refused = read_rubrics(tmp_path, taken=["refusal"])
    assert [metric.name for metric in found] == ["promises_a_date"]
    assert ["already" in str(why) for why in refused] == [True, True]


def test_the_rubric_that_people_read_is_no_metric_and_goes_on_working(project: Project) -> None:
    folder = project.metrics_dir
    folder.mkdir(parents=True)
    (folder / "perceived_error.md").write_text("# Ours", encoding="utf-8")
    (folder / "README.md").write_text("Our metrics.", encoding="utf-8")
    assert read_rubrics(folder) == ([], [])
    assert load_rubric(folder).text == "# Ours"


def test_a_rubric_file_saved_on_another_system_reads_the_same(
    tmp_path: Path, metric: RubricMetric
) -> None:
    path = rubric_file(tmp_path)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    assert read_rubric(path) == metric


def test_the_bundled_example_is_a_rubric_and_is_not_switched_on(project: Project) -> None:
    found, refused = read_rubrics(EXAMPLES)
    assert [metric.name for metric in found] == ["unkept_promise"]
    assert refused == []
    assert rubrics_of(project) == ([], [])


# Scoring


def test_each_sampled_trace_has_a_row_with_the_judges_reason(
    day: Project, metric: RubricMetric
) -> None:
    (report,) = score(day, judge(), metric)
    assert (report.attempted, report.done, report.flagged) == (21, 20, 10)
    assert report.skipped == {"not eligible: no user turn after an answer": 1}
    rows = warehouse_rows(day, "select * from current_scores order by trace_id")
    assert len(rows) == 20
    first = rows[0]
    assert (first["metric"], first["metric_version"]) == (metric.name, metric.version)
    assert (first["kind"], first["tier"], first["label"]) == ("llm", "generative", "true")
    assert (first["reason"], first["evidence_turn"]) == ("message 2 shows it", 2)
    assert first["probability"] == pytest.approx(0.9)
    assert (first["cost_usd"], first["prompt_tokens"]) == (0.001, 100)
    assert first["reason_code"] is None


def test_the_judge_is_asked_under_the_rubric_alone(day: Project, metric: RubricMetric) -> None:
    reader = judge()
    score(day, reader, metric)
    prompt = asked(reader)[0]
    assert len(prompt.messages) == 2
    assert RUBRIC.strip() in prompt.messages[0].content
    assert (prompt.shape.label, prompt.shape.codes) == (metric.name, ())
    assert "perceive" not in "".join(message.content for message in prompt.messages)


def test_the_run_is_counted_and_priced(day: Project, metric: RubricMetric) -> None:
    def rule(prompt: Prompt) -> Answer:
        if "Friday" in last_text(prompt):
            return Answer("It does.", cost_usd=0.002)
        return replied(prompt, False)

    (report,) = score(day, judge(rule), metric)
    assert (report.done, report.failed) == (10, {"unparsed": 10})
    (run,) = warehouse_rows(day, "select * from score_runs")
    assert (run["attempted"], run["scored"]) == (21, 10)
    assert json.loads(str(run["failed"])) == {"unparsed": 10}
    assert run["cost_usd"] == pytest.approx(10 * 0.001 + 10 * 0.002)
    unread = warehouse_rows(day, "select * from scores where label = 'unparsed'")
    assert len(unread) == 10
    assert {row["probability"] for row in unread} == {None}


def test_a_rubric_that_is_read_again_pays_nothing(day: Project, metric: RubricMetric) -> None:
    (before,) = score(day, judge(), metric)
    again = judge()
    (after,) = score(day, again, metric)
    assert asked(again) == []
    assert (after.from_cache, after.done) == (20, before.done)
    assert len(warehouse_rows(day, "select * from scores")) == 20


def test_a_run_that_is_killed_goes_on_where_it_was(day: Project, metric: RubricMetric) -> None:
    class Killed(Exception):
        pass

    def dies(prompt: Prompt) -> bool:
        if len(asked(reader)) == 8:
            raise Killed
        return False

    reader = judge(dies)
    with pytest.raises(Killed):
        score(day, reader, metric)
    assert warehouse_rows(day, "select * from scores") == []
    after = judge()
    score(day, after, metric)
    assert len(asked(after)) == 13


def test_a_smaller_sample_is_a_part_of_a_larger_one(day: Project, tmp_path: Path) -> None:
    by_hash = sorted((f"t{i:02}" for i in range(20)), key=lambda name: unit_hash(name, "rubric"))
    few = read_rubric(rubric_file(tmp_path, sample="5", name="few"))
    most = read_rubric(rubric_file(tmp_path, name="most"))
    reports = score(day, judge(), few, most, limit=12)
    assert [report.done for report in reports] == [5, 12]
    assert reports[0].skipped["beyond 5 traces a day"] == 15
    for name, n in (("few", 5), ("most", 12)):
        rows = warehouse_rows(day, f"select trace_id from scores where metric = '{name}'")
        assert {row["trace_id"] for row in rows} == set(by_hash[:n])


def test_two_rubrics_do_not_share_their_verdicts(day: Project, tmp_path: Path) -> None:
    first = read_rubric(rubric_file(tmp_path, name="first"))
    second = read_rubric(rubric_file(tmp_path, name="second"))
    reports = score(day, judge(), first, second)
    assert [report.from_cache for report in reports] == [0, 0]


def test_a_changed_rubric_puts_its_own_rows_in_force(day: Project, tmp_path: Path) -> None:
    score(day, judge(), read_rubric(rubric_file(tmp_path)))
    changed = read_rubric(rubric_file(tmp_path, RUBRIC + "Or an hour."))
    score(day, judge(), changed)
    assert len(warehouse_rows(day, "select * from scores")) == 40
    in_force = warehouse_rows(day, "select distinct metric_version from current_scores")
    assert in_force == [{"metric_version": changed.version}]


# Without a judge


def test_without_a_judge_every_trace_is_skipped_and_told_what_to_set(
    day: Project, metric: RubricMetric
) -> None:
    (report,) = score(day, None, metric)
    assert (report.attempted, report.done, report.skipped) == (21, 0, {NO_JUDGE: 21})
    assert "set judge.generative" in NO_JUDGE
    (run,) = warehouse_rows(day, "select * from score_runs")
    assert json.loads(str(run["skipped"])) == {NO_JUDGE: 21}


def test_a_judge_that_is_taken_away_leaves_what_it_said_in_force(
    day: Project, metric: RubricMetric
) -> None:
    score(day, judge(), metric)
    score(day, None, metric)
    assert len(warehouse_rows(day, "select * from current_scores")) == 20


def test_a_judge_that_does_not_exist_fails_its_rubric_and_no_other(
    day: Project, tmp_path: Path
) -> None:
    known = judge()

    def named(name: str) -> PromptedJudge | None:
        if name == "lagre":
            raise NotFound("judge", name, ["large"])
        return known

    misspelt = read_rubric(rubric_file(tmp_path, name="misspelt", judge="lagre"))
    right = read_rubric(rubric_file(tmp_path, name="right"))
    reports = score_day_by_rubrics(day.stores, [misspelt, right], named, LEVERS, DAY, 100)
    assert reports[0].failed == {"there is no judge 'lagre'; did you mean 'large'?": 21}
    assert reports[1].done == 20


# The project's


def test_the_loop_reads_the_projects_rubrics(day: Project) -> None:
    rubric_file(day.metrics_dir)
    rubric_file(day.metrics_dir, stem="bad", level="turn")
    (report,) = score_rubrics(day, DAY)
    assert report.skipped == {NO_JUDGE: 21}
    assert "a rubric is of a whole trace" in str(rubrics_of(day)[1][0])


def test_a_rubric_may_not_take_the_name_of_a_metric_by_code(day: Project) -> None:
    rubric_file(day.metrics_dir, name="refusal")
    assert "already" in str(rubrics_of(day)[1][0])
