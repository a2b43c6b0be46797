"""Dagster's side: what is defined, that all of it runs, and when it runs by itself."""

import ast
import json
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from importlib.resources import files
from pathlib import Path

import dagster as dg
import pytest
from pydantic import TypeAdapter

from dagster_defs.definitions import defs
from dagster_defs.evolution_metadata import metric_set_facts
from dagster_defs.partitions import DAILY, first_day
from dagster_defs.resources import ProjectResource
from dagster_defs.schedules import SCHEDULES, every_night, retrain_every_week
from dagster_defs.sensors import (
    SENSORS,
    again_after_late_traces,
    announce_moves,
    ingest_live_traces,
    learn_after_decisions,
    reread_after_approval,
    retrain_after_corrections,
    retrain_after_drift,
)
from flywheel.corrections import derive_labels
from flywheel.evolution.evidence import Evidence
from flywheel.evolution.keepers import keeper_of
from flywheel.evolution.metric_set.proposing import propose_metrics_or_why
from flywheel.evolution.metric_set.rescoring import ask_to_rescore
from flywheel.evolution.proposals import Draft, approve, propose
from flywheel.quality.judge_change import JudgeChange
from flywheel.quality.publishing import PublishedQuality
from flywheel.records import Decision, Interval, split_of
from flywheel.registry import promote, register, set_alias
from flywheel.review import (
    adjudicate,
    decide,
    decline,
    flag_sensitive,
    import_decisions,
    undo,
)
from flywheel.store import Project, open_project
from flywheel.store.publications import publish
from flywheel.store.tables import queue_items
from flywheel.traces.importing import import_file
from flywheel.traces.inbox import Inbox
from tests.conftest import trace, write_lines
from tests.otlp import body, trace_of

ROOT = Path(__file__).resolve().parent.parent
STAGES = {
    "traces": ["traces", "live_traces", "sampled_traces", "watched_files"],
    "metrics": ["code_scores"],
    "judge": [
        *("few_shot_corrections", "judge_scores", "judge_calibration"),
        *("rubric_scores", "panel_labels"),
    ],
    "queue": ["review_queue"],
    "review": ["reviews", "feedback"],
    "corrections": ["corrections"],
    "quality": ["alerts", "quality_report"],
    "retrieval": ["correction_index"],
    "training": ["training_set", "lora_adapter"],
    "gate": ["gate_verdict"],
    "registry": ["champion", "announcements"],
    "experiments": ["experiments"],
    "evolution": [
        *("metric_set", "metric_history", "functions", "call_graph", "probes"),
        *("failure_modes", "cases", "formats"),
    ],
    "forgetting": ["expired_traces"],
}
OF_DAYS = {
    *("traces", "sampled_traces", "code_scores"),
    *("few_shot_corrections", "judge_scores", "review_queue"),
    *("rubric_scores", "panel_labels", "probes"),
}
BLOCKING = {"one_version_is_current", "scores_are_sound", "no_conversation_in_two_splits"}
WARNING = {
    *("every_line_was_read", "most_traces_are_eligible", "every_day_has_a_partition"),
    *("every_metric_can_be_read", "most_audit_items_are_decided", "challenger_beats_champion"),
}
# The first two days of the bundled sample, fifteen of the thirty conversations of each: the least
# that trains a judge.
DAYS = ["2026-03-02", "2026-03-03"]
LINES = [*range(15), *range(30, 45)]
SETTINGS = """
[compute]
threads = 1
[training]
epochs = 1
min_corrections = 3
"""


def new_project(folder: Path) -> Project:
    folder.mkdir(parents=True)
    (folder / "flywheel.toml").write_text(SETTINGS, encoding="utf-8")
    return open_project(folder)


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterable[Project]:
    """A project whose sensor asks for three labels."""
    made = new_project(tmp_path / "small")
    monkeypatch.setenv("FLYWHEEL_PROJECT", str(made.folder))
    yield made
    made.stores.ledger.close()


def resources(project: Project) -> dict[str, ProjectResource]:
    return {"project": ProjectResource(folder=str(project.folder))}


def run(
    project: Project, job: str, days: Sequence[str] = (), instance: dg.DagsterInstance | None = None
) -> dg.ExecuteInProcessResult:
    """Run a job in this process, over the days from the first to the last of `days`."""
    names = ("dagster/asset_partition_range_start", "dagster/asset_partition_range_end")
    return defs.resolve_job_def(job).execute_in_process(
        instance=instance,
        resources=resources(project),
        tags=dict(zip(names, (days[0], days[-1]), strict=True)) if days else None,
        raise_on_error=False,
    )


def made_by(result: dg.ExecuteInProcessResult) -> set[tuple[str, str | None]]:
    """The assets and partitions that a run has materialised."""
    events = result.get_asset_materialization_events()
    return {(event.asset_key.to_user_string(), event.partition) for event in events}


def metadata_of(result: dg.ExecuteInProcessResult, asset: str) -> dict[str, object]:
    """What the run's last materialisation of `asset` says of itself."""
    event = result.asset_materializations_for_node(asset)[-1]
    return {name: value.value for name, value in event.metadata.items()}


# What is defined.


def test_the_definitions_load() -> None:
    dg.Definitions.validate_loadable(defs)


def test_each_stage_has_the_assets_of_the_design() -> None:
    graph = defs.resolve_asset_graph()
    found = {name: [] for name in STAGES}
    for key in graph.get_all_asset_keys():
        found[graph.get(key).group_name].append(key.to_user_string())
    assert {name: sorted(keys) for name, keys in found.items()} == {
        name: sorted(keys) for name, keys in STAGES.items()
    }


def test_a_group_is_the_file_that_its_assets_stand_in() -> None:
    for asset in defs.assets or ():
        if isinstance(asset, dg.AssetsDefinition):
            (group,) = asset.group_names_by_key.values()
            file = asset.op.compute_fn.decorated_fn.__module__  # type: ignore[union-attr]
            assert file == f"dagster_defs.defs.{group}"


def test_no_edge_points_against_the_order_of_the_stages() -> None:
    graph, order = defs.resolve_asset_graph(), list(STAGES)
    edges = [
        (graph.get(parent).group_name, graph.get(key).group_name)
        for key in graph.get_all_asset_keys()
        for parent in graph.get(key).parent_keys
    ]
    assert len(edges) >= 14
    assert not [edge for edge in edges if order.index(edge[0]) > order.index(edge[1])]


def test_what_happens_daily_has_a_partition_a_day_and_a_backfill_is_one_run() -> None:
    graph = defs.resolve_asset_graph()
    for key in graph.get_all_asset_keys():
        node = graph.get(key)
        is_of_days = key.to_user_string() in OF_DAYS
        assert node.partitions_def == (DAILY if is_of_days else None), key
        if is_of_days:
            assert node.backfill_policy == dg.BackfillPolicy.single_run()


def test_today_can_be_worked_on_and_the_project_says_since_when(small: Project) -> None:
    assert DAILY.has_partition_key(datetime.now(UTC).date().isoformat())
    assert first_day(None) == date(2025, 1, 1)
    (small.folder / "flywheel.toml").write_text("[project]\nfirst_day = 2026-03-02\n")
    assert first_day(str(small.folder)) == date(2026, 3, 2)


def test_every_asset_and_check_says_what_it_is() -> None:
    graph = defs.resolve_asset_graph()
    for key in graph.get_all_asset_keys():
        assert (graph.get(key).description or "").endswith("."), key
    for checks in defs.asset_checks or ():
        for spec in checks.check_specs:  # type: ignore[union-attr]
            assert (spec.description or "").endswith("."), spec.name


def test_broken_data_blocks_and_a_refusal_does_not() -> None:
    specs = [s for checks in defs.asset_checks or () for s in checks.check_specs]  # type: ignore[union-attr]
    assert {spec.name for spec in specs if spec.blocking} == BLOCKING
    assert {spec.name for spec in specs if not spec.blocking} == WARNING


def test_assets_are_thin() -> None:
    """At most fifteen lines, no loop and no condition; what is done stands in the library."""
    for path in sorted((ROOT / "dagster_defs" / "defs").glob("*.py")):
        for function in ast.parse(path.read_text(encoding="utf-8")).body:
            if not isinstance(function, ast.FunctionDef):
                continue
            lines = (function.end_lineno or 0) - function.lineno + 1
            assert lines <= 15, f"{path.name}: {function.name} has {lines} lines"
            kinds = {type(node) for node in ast.walk(function)}
            assert not kinds & {ast.For, ast.While, ast.If}, f"{path.name}: {function.name}"


@pytest.mark.usefixtures("small")
def test_steps_share_a_process_unless_the_run_asks_for_more() -> None:
    job = defs.resolve_job_def("learn")
    asked = {"execution": {"config": {"multiprocess": {"max_concurrent": 2}}}}
    (alone,) = dg.validate_run_config(job)["execution"].values()
    (several,) = dg.validate_run_config(job, asked)["execution"].values()
    assert list(alone) == ["in_process"]
    assert several["multiprocess"]["max_concurrent"] == 2


def test_everything_that_starts_by_itself_is_on() -> None:
    on = {dg.DefaultScheduleStatus.RUNNING, dg.DefaultSensorStatus.RUNNING}
    assert {one.default_status for one in (*SCHEDULES, *SENSORS)} == on


# All of it, from nothing.


@pytest.fixture(scope="module")
def looped(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterable[tuple[Project, dg.ExecuteInProcessResult]]:
    """Two days of the sample with what people said of them, and a run of every asset."""
    folder = tmp_path_factory.mktemp("looped")
    project = new_project(folder / "project")
    for name in ("traces", "decisions"):
        lines = (files("flywheel.sample") / f"{name}.jsonl").read_text("utf-8").splitlines()
        rows = [json.loads(lines[i]) for i in LINES]
        write_lines(folder / f"{name}.jsonl", rows)
    import_file(project.stores, folder / "traces.jsonl")
    import_decisions(project.stores, folder / "decisions.jsonl")
    with dg.DagsterInstance.ephemeral() as instance:
        yield project, run(project, "__ASSET_JOB", DAYS, instance)
    project.stores.ledger.close()


def test_materialising_everything_from_an_empty_instance_succeeds(
    looped: tuple[Project, dg.ExecuteInProcessResult],
) -> None:
    _, result = looped
    assert result.success
    every = {name for names in STAGES.values() for name in names} - {"reviews"}
    of_days = {(name, day) for name in OF_DAYS for day in DAYS}
    assert made_by(result) == of_days | {(name, None) for name in every - OF_DAYS}
    names = {e.asset_check_key.name for e in result.get_asset_check_evaluations()}
    assert names == BLOCKING | WARNING


def test_every_asset_leaves_facts_and_pictures_where_they_say_more(
    looped: tuple[Project, dg.ExecuteInProcessResult],
) -> None:
    _, result = looped
    for event in result.get_asset_materialization_events():
        assert event.materialization.metadata, event.asset_key
    assert metadata_of(result, "traces")["traces"] == 15
    judged = metadata_of(result, "judge_scores")
    assert (judged["attempted"], judged["scored: lexical"]) == (15, 15)
    assert str(judged["judge_version"]).startswith("judge-")
    verdict = metadata_of(result, "gate_verdict")
    for picture in (judged["probabilities"], verdict["precision and recall"]):
        assert str(picture).startswith("![picture](data:image/png;base64,iVBORw0KGgo")


def test_the_training_reads_the_set_that_was_frozen_and_the_gate_what_was_trained(
    looped: tuple[Project, dg.ExecuteInProcessResult],
) -> None:
    _, result = looped
    adapter = metadata_of(result, "lora_adapter")
    assert adapter["training set"] == metadata_of(result, "training_set")["name"]
    assert metadata_of(result, "gate_verdict")["challenger"] == adapter["version"]
    # The cold-start judge judged, and stays: seven labels in the holdout are no evidence.
    champion = metadata_of(result, "champion")
    assert champion["champion"] == metadata_of(result, "judge_scores")["judge_version"]
    assert champion["promoted"] is False


def test_the_same_day_twice_gives_the_same_rows(
    looped: tuple[Project, dg.ExecuteInProcessResult],
) -> None:
    project, _ = looped
    assert run(project, "daily", DAYS[:1]).success
    before = rows_of(project)
    assert run(project, "daily", DAYS[:1]).success
    assert rows_of(project) == before
    assert all(before.values())


def rows_of(project: Project) -> dict[str, list[tuple[object, ...]]]:
    """What the daily stages have written, in a total order."""
    with project.stores.warehouse.open() as connection:
        found = {
            name: sorted(connection.raw.execute(f"select * from {name}").fetchall(), key=str)
            for name in ("traces", "samples", "scores", "score_runs")
        }
    with project.stores.ledger.begin() as ledger:
        found["queue"] = sorted(map(tuple, ledger.execute(queue_items.select()).all()), key=str)
    return found


def test_a_project_without_labels_is_refused_a_retraining_and_nothing_fails(small: Project) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        result = run(small, "retrain", instance=instance)
        again = defs.resolve_implicit_global_asset_job_def().execute_in_process(
            instance=instance, asset_selection=[dg.AssetKey("gate_verdict")]
        )
    assert result.success
    assert "at least" in str(metadata_of(result, "lora_adapter")["not trained"])
    assert "0 challengers" in str(metadata_of(result, "gate_verdict")["no verdict"])
    # That run froze no set, and there is nobody to look at.
    assert metadata_of(again, "gate_verdict") == {}


# Checks.


def test_a_conversation_in_two_splits_stops_the_training(small: Project) -> None:
    """A session that was seen with its user and without follows the user once, itself once."""
    session = next(s for s in map(str, range(99)) if split_of(s) == "calibration")
    user = next(u for u in map(str, range(99)) if split_of("", u) == "train")
    turns = ("Where is it?", "At the harbour.", "No, it is not there.")
    rows = [
        trace("a", *turns, session_id=session),
        trace("b", *turns, session_id=session, user_id=user),
    ]
    import_rows(small, rows)
    for trace_id in ("a", "b"):
        decide_on(small, trace_id)
    with dg.DagsterInstance.ephemeral() as instance:
        result = run(small, "retrain", instance=instance)
    assert not result.success
    assert made_by(result) == {("corrections", None), ("training_set", None)}


def test_a_score_that_cannot_be_right_stops_the_queue(small: Project) -> None:
    import_rows(small, [trace("a", "Where is it?", "At the harbour.", "No, it is not there.")])
    with small.stores.warehouse.open() as connection:
        connection.raw.execute(
            "insert into scores (day, trace_id, content_hash, metric, metric_version, "
            "judge_version, kind, probability) values ('2026-03-01', 'x', 'y', 'm', '1', '', "
            "'llm', 1.5)"
        )
    result = run(small, "daily", DAYS[:1])
    assert not result.success
    assert ("judge_scores", DAYS[0]) in made_by(result)
    assert ("review_queue", DAYS[0]) not in made_by(result)
    (check,) = [e for e in result.get_asset_check_evaluations() if not e.passed]
    counts = {name: value.value for name, value in check.metadata.items()}
    assert counts == {"probability_out_of_bounds": 1, "unknown_trace": 1}


def test_what_is_only_odd_warns(small: Project) -> None:
    """A bad line, a trace without a reaction, one of too early a day, a file that is no metric."""
    write_lines(small.metrics_dir / "broken.sql", [])
    rows = [trace("a", "Hello?"), trace("b", "Hello?", started_at="1999-01-01T00:00:00Z")]
    import_rows(small, [*rows, {"trace_id": "c"}])
    result = run(small, "daily", DAYS[:1])
    assert result.success
    odd = {e.asset_check_key.name for e in result.get_asset_check_evaluations() if not e.passed}
    assert odd == WARNING - {"most_audit_items_are_decided", "challenger_beats_champion"}


def test_the_queue_waits_for_what_it_reads() -> None:
    of_queue = defs.resolve_asset_graph().get(dg.AssetKey("review_queue"))
    names = {key.to_user_string() for key in of_queue.parent_keys}
    assert names == {"code_scores", "judge_scores"}


# When it runs by itself.


def import_rows(project: Project, rows: Sequence[dict[str, object]]) -> None:
    import_file(project.stores, write_lines(project.folder / "rows.jsonl", rows))


def decide_on(project: Project, trace_id: str, reviewer: str = "ada") -> None:
    """A decision on the trace as it is now, or on one that is not here."""
    with project.stores.warehouse.open() as connection:
        hashes = dict(
            connection.raw.execute("select trace_id, content_hash from traces").fetchall()
        )
    content_hash = hashes.get(trace_id, "unknown")
    decide(project.stores.ledger, decision_on(trace_id, content_hash, reviewer))


def decision_on(trace_id: str, content_hash: str, reviewer: str) -> Decision:
    return Decision(
        trace_id, content_hash, reviewer, True, "correction", "Wrong place.", datetime.now(UTC)
    )


def tick(
    sensor: dg.SensorDefinition,
    project: Project,
    instance: dg.DagsterInstance,
    cursor: str | None = None,
) -> dg.SensorResult | dg.RunRequest | dg.SkipReason:
    """What the sensor answers now."""
    context = dg.build_sensor_context(instance, cursor, resources=resources(project))
    return sensor(context)  # type: ignore[return-value]


def test_the_sensor_retrains_after_as_many_labels_as_are_asked_for_and_not_before(
    small: Project,
) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        for n, more in ((0, 3), (1, 2), (2, 1)):
            answer = tick(retrain_after_corrections, small, instance)
            assert isinstance(answer, dg.SkipReason)
            assert answer.skip_message == f"{n} new labels, {more} more to go"
            decide_on(small, f"trace-{n}")
        first = tick(retrain_after_corrections, small, instance)
        assert isinstance(first, dg.RunRequest)
        why = "3 new labels, and training.min_corrections asks for 3"
        assert first.tags["flywheel/why"] == why
        keys = []
        for n in (3, 4, 5):
            decide_on(small, f"trace-{n}")
            again = tick(retrain_after_corrections, small, instance)
            assert isinstance(again, dg.RunRequest)
            keys.append(again.run_key)
        # The same key asks for no second run; three labels more are another key.
        assert keys[:2] == [first.run_key] * 2
        assert keys[2] != first.run_key


def test_a_decision_taken_back_counts_no_longer(small: Project) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        for n in range(3):
            decide_on(small, f"trace-{n}")
        undo(small.stores.ledger, "ada")
        assert isinstance(tick(retrain_after_corrections, small, instance), dg.SkipReason)


def test_one_retraining_at_a_time(small: Project) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        for n in range(3):
            decide_on(small, f"trace-{n}")
        job = defs.resolve_job_def("retrain")
        instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED)
        answer = tick(retrain_after_corrections, small, instance)
        assert isinstance(answer, dg.SkipReason)
        assert answer.skip_message == "a retraining is under way"


def test_a_training_consumes_what_both_reviewers_decided(
    looped: tuple[Project, dg.ExecuteInProcessResult],
) -> None:
    """Thirty decisions are considered, those of the holdout too, and one more is one more."""
    project, _ = looped
    with dg.DagsterInstance.ephemeral() as instance:
        answer = tick(retrain_after_corrections, project, instance)
        assert isinstance(answer, dg.SkipReason)
        assert answer.skip_message == "0 new labels, 3 more to go"
        context = dg.build_schedule_context(
            instance, datetime(2026, 3, 9, 4, tzinfo=UTC), resources=resources(project)
        )
        assert isinstance(retrain_every_week(context), dg.SkipReason)
        decide_on(project, "sample-0001", "grace")
        assert isinstance(retrain_every_week(context), dg.RunRequest)
        assert isinstance(tick(retrain_after_corrections, project, instance), dg.SkipReason)


def fallen(project: Project, judge: str) -> None:
    """Publish that a judge agrees with people less than it did."""
    change = JudgeChange(
        *(judge, date(2026, 3, 3), Interval(0.7, 0.6, 0.8), Interval(0.9, 0.85, 0.95)),
        *(100, 100, True, f"judge {judge} agrees with people less than it did"),
    )
    at = datetime.now(UTC)
    made = PublishedQuality(at, [], {}, 0, 0, [], [change])
    content = TypeAdapter(PublishedQuality).dump_json(made)
    publish(project.stores, "quality", content)


def test_a_champion_that_has_fallen_is_retrained_once_a_week_with_its_reason(
    small: Project,
) -> None:
    ledger = small.stores.ledger
    register(ledger, "judge", "judge-1", {}, None, None, "ada")
    with dg.DagsterInstance.ephemeral() as instance:
        sensor = retrain_after_drift
        assert isinstance(tick(sensor, small, instance), dg.SkipReason)
        fallen(small, "judge-1")
        # What fell is no champion, and so no reason.
        assert isinstance(tick(sensor, small, instance), dg.SkipReason)
        set_alias(ledger, "judge", "champion", "judge-1", "ada", "the first")
        answer = tick(sensor, small, instance)
        assert isinstance(answer, dg.SkipReason)
        assert "0 new labels, and 1 are needed for a retraining to add anything" in str(
            answer.skip_message
        )
        decide_on(small, "trace-0")
        first, again = tick(sensor, small, instance), tick(sensor, small, instance)
        assert isinstance(first, dg.RunRequest)
        assert isinstance(again, dg.RunRequest)
        assert first.run_key == again.run_key
        said = "judge: judge judge-1 agrees with people less than it did"
        assert first.tags["flywheel/why"] == said
        assert first.tags["flywheel/targets"] == "judge"


def test_a_moved_champion_is_announced_by_a_run_of_its_own(
    small: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = small.stores.ledger
    with dg.DagsterInstance.ephemeral() as instance:
        assert isinstance(tick(announce_moves, small, instance), dg.SkipReason)
        rule = '[alerts.crown]\nwhen = "champion"\n'
        (small.folder / "flywheel.toml").write_text(SETTINGS + rule, encoding="utf-8")
        told = open_project(small.folder)
        assert isinstance(tick(announce_moves, told, instance), dg.SkipReason)
        register(ledger, "judge", "judge-1", {}, None, None, "ada")
        promote(ledger, "judge", "judge-1", "ada", "the first")
        asked = tick(announce_moves, told, instance)
        assert isinstance(asked, dg.RunRequest)
        result = run(told, "announce", instance=instance)
        assert result.success
        assert "promoted by ada" in str(metadata_of(result, "announcements")["fired"])
        assert tick(announce_moves, told, instance).run_key == asked.run_key
        promote(ledger, "judge", "judge-1", "ada", "again")
        assert tick(announce_moves, told, instance).run_key == asked.run_key
        told.stores.ledger.close()


def test_history_is_read_once_for_each_time_that_somebody_asks(small: Project) -> None:
    rows = [trace("a", "one", "two", "three"), trace("b", "one", "two")]
    import_file(small.stores, write_lines(small.folder / "t.jsonl", rows))
    text = "\n".join(
        [
            "-- How long it is.",
            *("-- name: long", "-- level: trace", "-- direction: lower_is_better"),
            *("-- owner: ada", "-- review_due: 2030-01-01"),
            "select trace_id, n_messages as value, 'true' as label from traces",
        ]
    )
    draft = Draft("metric", "long.sql", "add", None, text, "short is good", Evidence("It is long."))
    made = propose(small.stores.ledger, draft, "ada")
    assert made is not None
    keeper, number = keeper_of("metric"), made.proposal_id
    approve(project=small, keeper=keeper, proposal_id=number, actor="ada", why="so it is")
    with dg.DagsterInstance.ephemeral() as instance:
        assert isinstance(tick(reread_after_approval, small, instance), dg.SkipReason)
        ask_to_rescore(small.stores.ledger, number, "ada")
        assert isinstance(tick(reread_after_approval, small, instance), dg.RunRequest)
        result = run(small, "reread", instance=instance)
        assert result.success
        assert "| long |" in str(metadata_of(result, "metric_history")["history"])
        assert isinstance(tick(reread_after_approval, small, instance), dg.SkipReason)
    with small.stores.warehouse.open() as connection:
        (count,) = connection.raw.execute("select count(*) from scores").fetchall()
    assert count == (2,)


def test_without_a_model_or_labels_nothing_is_proposed_and_nothing_fails(small: Project) -> None:
    said = metric_set_facts(propose_metrics_or_why(small))
    assert "evolution.model names no model" in str(said["nothing proposed"])


def test_labels_follow_decisions_once(small: Project) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        assert isinstance(tick(learn_after_decisions, small, instance), dg.SkipReason)
        decide_on(small, "trace-0")
        answer = tick(learn_after_decisions, small, instance)
        assert isinstance(answer, dg.SensorResult)
        assert [request.run_key for request in answer.run_requests or ()] == ["decisions-1"]
        same = tick(learn_after_decisions, small, instance, answer.cursor)
        assert isinstance(same, dg.SkipReason)


def test_the_sensor_reports_what_people_did(small: Project) -> None:
    """No run materialises `reviews`: the event carries the counts of that moment."""
    reviews = dg.AssetKey("reviews")
    with dg.DagsterInstance.ephemeral() as instance:
        decide_on(small, "trace-0")
        cursor = tick(learn_after_decisions, small, instance).cursor  # type: ignore[union-attr]
        decide_on(small, "trace-0", "grace")
        decide_on(small, "trace-1", "grace")
        answer = tick(learn_after_decisions, small, instance, cursor)
        assert isinstance(answer, dg.SensorResult)
        (event,) = answer.asset_events
        assert isinstance(event, dg.AssetMaterialization)
        # As the daemon does with it.
        instance.report_runless_asset_event(event)
        kept = instance.get_latest_materialization_event(reviews)
        assert kept is not None
        assert kept.asset_materialization is not None
        assert {
            name: value.value for name, value in kept.asset_materialization.metadata.items()
        } == {
            "new since the last": 2,
            "rows": 3,
            "decisions": 3,
            "adjudications": 0,
            "corrections": 0,
            "sensitive": 0,
            "reviewers": 2,
        }


def test_labels_follow_what_is_taken_back_settled_or_marked_and_no_skip(small: Project) -> None:
    ledger, keys = small.stores.ledger, []
    with dg.DagsterInstance.ephemeral() as instance:
        cursor = None
        for act in (
            lambda: decide_on(small, "trace-0"),
            lambda: decline(ledger, "trace-1", "unknown", "ada"),
            lambda: undo(ledger, "ada"),
            lambda: undo(ledger, "ada"),
            lambda: flag_sensitive(ledger, "trace-0", "unknown", "ada"),
            lambda: adjudicate(ledger, decision_on("trace-0", "unknown", "grace")),
        ):
            act()
            answer = tick(learn_after_decisions, small, instance, cursor)
            if isinstance(answer, dg.SensorResult):
                cursor = answer.cursor
                keys += [request.run_key for request in answer.run_requests or ()]
    # The decline and what took it back started nothing.
    assert keys == [f"decisions-{n}" for n in (1, 2, 3, 4)]


def test_every_night_works_on_the_day_that_has_ended() -> None:
    context = dg.build_schedule_context(
        scheduled_execution_time=datetime(2026, 3, 3, 2, tzinfo=UTC)
    )
    request = every_night(context)
    assert isinstance(request, dg.RunRequest)
    assert request.partition_key == "2026-03-02"
    early = dg.build_schedule_context(scheduled_execution_time=datetime(2025, 1, 1, 2, tzinfo=UTC))
    assert isinstance(every_night(early), dg.SkipReason)


def test_live_traces_are_drained_when_there_is_something_new(small: Project) -> None:
    sensor, inbox = ingest_live_traces, Inbox(small.stores.ledger, 1)
    root, *others = trace_of(1)
    with dg.DagsterInstance.ephemeral() as instance:
        assert isinstance(tick(sensor, small, instance), dg.SkipReason)
        inbox.take_in("otlp", "", body(*others), 3)
        first = tick(sensor, small, instance)
        assert run(small, "ingest", instance=instance).success
        # They wait for their root, and so nothing is new.
        assert tick(sensor, small, instance).run_key == first.run_key
        inbox.take_in("otlp", "", body(root), 1)
        assert tick(sensor, small, instance).run_key != first.run_key
        result = run(small, "ingest", instance=instance)
        assert metadata_of(result, "live_traces")["spans"] == 4
        assert isinstance(tick(sensor, small, instance), dg.SkipReason)


def test_a_day_is_run_again_when_traces_came_late_and_it_is_quiet(
    small: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    sensor = again_after_late_traces
    with dg.DagsterInstance.ephemeral() as instance:
        import_rows(small, [trace("early", "a", "b")])
        with monkeypatch.context() as later:
            later.setattr("dagster_defs.sensors.QUIET_FOR", timedelta(0))
            # Its line has never run, and then it has.
            assert isinstance(tick(sensor, small, instance), dg.SkipReason)
            assert run(small, "daily", DAYS[:1], instance).success
            assert isinstance(tick(sensor, small, instance), dg.SkipReason)
        import_rows(small, [trace("late", "a", "b")])
        # It may be the first of many.
        assert isinstance(tick(sensor, small, instance), dg.SkipReason)
        monkeypatch.setattr("dagster_defs.sensors.QUIET_FOR", timedelta(0))
        (asked,) = tick(sensor, small, instance).run_requests
        assert (asked.partition_key, asked.run_key) == (DAYS[0], f"{DAYS[0]}-2")


def test_a_sensor_reads_the_ledger_alone(small: Project) -> None:
    """A tick every minute must not wait for the warehouse."""
    decide_on(small, "trace-0")
    with dg.DagsterInstance.ephemeral() as instance, small.stores.warehouse.open():
        assert isinstance(tick(retrain_after_corrections, small, instance), dg.SkipReason)
    assert derive_labels(small.stores).without_trace == 1
