"""Forgetting: nothing of a user is left anywhere, and nothing of anybody else is touched."""

import gzip
import json
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from threading import Thread

import duckdb
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa
import zstandard
from click.testing import CliRunner

from flywheel.cli.main import cli
from flywheel.corrections import derive_labels
from flywheel.errors import BadInput
from flywheel.evolution.evidence import Evidence
from flywheel.evolution.functions.record import FunctionRecord
from flywheel.evolution.functions.store import list_functions, put_live
from flywheel.evolution.proposals import Draft, find_proposal, propose
from flywheel.experiments.experiment import ExperimentArm, Plan
from flywheel.experiments.running import start_experiment
from flywheel.forgetting import expire, forget_user, reapply
from flywheel.forgetting.forgetting import remove_gone
from flywheel.forgetting.holders import ARTIFACTS, FILES, LEDGER, WAREHOUSE
from flywheel.forgetting.ledger_rows import remove_rows
from flywheel.forgetting.packs import documents_in
from flywheel.forgetting.selection import Aged, Selection
from flywheel.in_use import embedder_of, levers_of
from flywheel.loop import rebuild_warehouse, run_loop
from flywheel.queue import ItemFilter, claim_next
from flywheel.records import Decision
from flywheel.redaction import Redactor
from flywheel.retrieval import update_indexes
from flywheel.review import decide
from flywheel.review.notes import comment
from flywheel.settings import PrivacySettings
from flywheel.store import Project, open_project
from flywheel.store import tables as ledger_tables
from flywheel.store.ledger import Ledger, now
from flywheel.store.tables import (
    audit_log,
    decisions,
    exposures,
    forgettings,
    functions,
    inbox,
    proposals,
    queue_items,
    served_examples,
)
from flywheel.traces.documents import publish_documents
from flywheel.traces.draining import drain_and_load
from flywheel.traces.feedback import FeedbackRow, keep_feedback
from flywheel.traces.forgotten import Sieve
from flywheel.traces.importing import import_file
from flywheel.traces.inbox import Inbox
from flywheel.training.dataset import take_training_set
from tests.conftest import trace, write_lines
from tests.queued import add_items, note, rows_of

USER = "anna.7f3q@example.org"
NAME = "Annabelle Quistgaard"
SECRET = "my cat Zerberine ate the violet ferry ticket"
BETTER = "Here is a new violet ticket for Zerberine"
REMARK = "she means the ferry to Hveen"
HERS = ("anna-trace-1", "anna-trace-2", "anna-trace-3")
SPAN_TRACE = "5b8aa5a2d2c872e8321cf37308d69df2"
NEEDLES = [USER, NAME, SECRET, BETTER, REMARK, *HERS, SPAN_TRACE, "anna-session"]


def her_traces() -> list[dict[str, object]]:
    turns = [
        (f"Hello, I am {NAME} and {SECRET}", "Where is it?", "That is wrong, I said it was eaten!"),
        ("Another ticket please", "Here you are.", f"No, {SECRET}", "Sorry.", "That is wrong."),
        ("And one more", f"Yes, {NAME}.", "Thank you, that is right."),
    ]
    more = [{"user_id": USER}, {"user_id": USER, "metadata": {"n": 1}}, {}]
    return [
        # The last one names no user, and is of a session that is hers alone.
        trace(name, *of_one, session_id="anna-session", **own)
        for name, of_one, own in zip(HERS, turns, more, strict=True)
    ]


def others() -> list[dict[str, object]]:
    return [
        trace(
            f"other-{i}",
            f"Where is parcel {i}?",
            "On its way.",
            "That is wrong, it is not." if i % 2 else "Thank you, good.",
            user_id=f"user-{i}",
        )
        for i in range(8)
    ]


def her_request() -> bytes:
    """A request in OTLP/JSON with a span of hers and one of somebody else's."""
    spans = [
        {
            "traceId": trace_id,
            "spanId": span_id,
            "name": "chat",
            "startTimeUnixNano": "1772445600000000000",
            "endTimeUnixNano": "1772445601000000000",
            "attributes": [
                {"key": "user.id", "value": {"stringValue": user}},
                {"key": "input.value", "value": {"stringValue": said}},
            ],
        }
        for trace_id, span_id, user, said in (
            (SPAN_TRACE, "eee19b7ec3c1b174", USER, SECRET),
            ("0" * 31 + "1", "0" * 15 + "1", "user-1", "Where is parcel 1?"),
        )
    ]
    return json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]}).encode()


def decided(project: Project, trace_id: str, perceived_error: bool, **more: object) -> None:
    with project.stores.warehouse.open() as connection:
        (row,) = connection.raw.execute(
            "select content_hash from traces where trace_id = ? and is_current", [trace_id]
        ).fetchall()
    code = "correction" if perceived_error else "positive"
    given = {"reason": "as she says", "decided_at": now(), "reason_code": code} | more
    decide(
        project.stores.ledger,
        Decision(trace_id, row[0], "ann", perceived_error=perceived_error, **given),  # type: ignore[arg-type]
    )


def fill(folder: Path, source: Path) -> None:
    """A project in which every store holds something of hers and of others."""
    project = open_project(folder)
    folder.mkdir(parents=True, exist_ok=True)
    stores, ledger = project.stores, project.stores.ledger
    import_file(stores, write_lines(source, [*others()[:4], *her_traces(), *others()[4:]]))
    for name in HERS:
        decided(project, name, name != HERS[2])
    for i in range(8):
        decided(project, f"other-{i}", bool(i % 2))
    decided(project, HERS[0], True, corrected_turn=1, corrected_text=BETTER)
    decided(project, "other-1", True, corrected_turn=1, corrected_text="At your door.")
    comment(ledger, HERS[0], "any", "ann", REMARK)
    derive_labels(stores)
    update_indexes(stores, embedder_of(project), levers_of(project))
    run_loop(project)
    claim_next(ledger, "ann", ItemFilter(), lease_s=600)
    with stores.warehouse.open() as connection:
        versions = connection.raw.execute("select trace_id, content_hash from traces").fetchall()
    publish_documents(stores, versions)
    take_training_set(stores, levers_of(project))
    said = FeedbackRow(
        HERS[0], None, "thumbs", 0.0, None, SECRET, BETTER, "end_user", USER, USER, None, "test"
    )
    keep_feedback(ledger, "shop", [said])
    Inbox(ledger, 64).take_in("otlp-json", "", her_request(), 2)
    with ledger.begin() as connection:
        row = {"request_id": "r", "app": "shop", "rank": 1, "similarity": 0.5, "score": 0.5}
        row |= {"index_version": "i", "served_at": now(), "session_id": None}
        connection.execute(
            served_examples.insert(),
            [
                row
                | {
                    "trace_id": None,
                    "user_id": USER,
                    "correction_id": "5",
                    "example_trace_id": "other-1",
                },
                row
                | {
                    "trace_id": "other-2",
                    "user_id": None,
                    "correction_id": "1",
                    "example_trace_id": HERS[0],
                },
                row
                | {
                    "trace_id": "other-2",
                    "user_id": None,
                    "correction_id": "5",
                    "example_trace_id": "other-1",
                },
            ],
        )
    home = project.data_dir / "dagster" / "history"
    home.mkdir(parents=True)
    with sqlite3.connect(home / "runs.db") as raw:
        raw.execute("create table event_logs (id integer primary key, event text)")
        raw.execute("insert into event_logs (event) values (?)", [f'{{"first": "{HERS[0]}"}}'])
    raw.close()
    (home / "run.out").write_text(f"scored {HERS[1]}, user {USER}\n", encoding="utf-8")
    # What a rebuild leaves.
    shutil.copyfile(stores.warehouse.path, stores.warehouse.set_aside_path)
    shutil.copyfile(stores.warehouse.path, stores.warehouse.path.with_stem("warehouse.rebuilding"))
    ledger.close()


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the file that was imported and the project, to be copied."""
    folder = tmp_path_factory.mktemp("filled")
    fill(folder / "project", folder / "traces.jsonl")
    return folder


@pytest.fixture
def opened(filled: Path, tmp_path: Path) -> Iterator[Project]:
    shutil.copytree(filled / "project", tmp_path / "project")
    project = open_project(tmp_path / "project")
    yield project
    project.stores.ledger.close()


def contents(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Every file below a folder as bytes, and again unpacked."""
    # Read before any is opened: SQLite takes its -shm and -wal away with the last connection.
    found = [(p, p.read_bytes()) for p in sorted(folder.rglob("*")) if p.is_file()]
    for path, content in found:
        name = str(path.relative_to(folder))
        yield name, content
        if path.suffix == ".zst":
            with zstandard.ZstdDecompressor().stream_reader(content) as packed:
                yield name, packed.read()
        elif path.suffix == ".gz":
            yield name, gzip.decompress(content)
        elif path.suffix == ".parquet":
            yield name, repr(pq.read_table(path).to_pylist()).encode()
        elif path.suffix == ".pack":
            yield from ((name, frame) for frame in frames(content))
        elif content.startswith(b"SQLite format 3"):
            yield name, repr(rows_of_sqlite(path)).encode()
        elif path.suffix == ".duckdb":
            yield name, repr(rows_of_duckdb(path)).encode()


def frames(content: bytes) -> Iterator[bytes]:
    while content := content.lstrip(b"\0"):
        unpacking = zstandard.ZstdDecompressor().decompressobj()
        yield unpacking.decompress(content)
        content = unpacking.unused_data


def rows_of_sqlite(path: Path) -> dict[str, list[object]]:
    raw = sqlite3.connect(path)
    names = [name for (name,) in raw.execute("select name from sqlite_master where type = 'table'")]
    found = {name: list(map(unpacked, raw.execute(f"select * from {name}"))) for name in names}
    raw.close()
    return found


def unpacked(row: tuple[object, ...]) -> list[object]:
    return [zstandard.ZstdDecompressor().decompress(v) if isinstance(v, bytes) else v for v in row]


def rows_of_duckdb(path: Path) -> dict[str, list[object]]:
    with duckdb.connect(str(path), read_only=True) as raw:
        names = [
            name for (name,) in raw.execute("select table_name from duckdb_tables()").fetchall()
        ]
        return {
            name: raw.execute(f"select * from {name} order by all").fetchall() for name in names
        }


def traces_of(folder: Path, needles: list[str] = NEEDLES) -> dict[str, set[str]]:
    """Which needle was found in which file."""
    found: dict[str, set[str]] = {}
    for name, content in contents(folder):
        for needle in needles:
            if needle.encode() in content:
                found.setdefault(name, set()).add(needle)
    return found


def test_before_she_is_forgotten_every_store_holds_something_of_hers(opened: Project) -> None:
    """So that the search of the other tests is known to find what it looks for."""
    found = traces_of(opened.folder)
    parts = {
        Path(name).parts[1] if "artifacts" not in name else Path(name).parts[2] for name in found
    }
    assert parts >= {
        *("ledger.sqlite", "warehouse.duckdb", "warehouse.before-rebuild.duckdb", "dagster"),
        *("raw", "documents", "snapshots", "training_sets", "index"),
    }
    assert set().union(*found.values()) == set(NEEDLES)


def test_nothing_of_a_forgotten_user_is_left(opened: Project) -> None:
    receipt = forget_user(opened, USER)
    assert traces_of(opened.folder) == {}
    assert receipt.is_clean
    assert receipt.removed["warehouse: traces"] == 3
    assert receipt.removed["lines of archives"] == 3
    assert receipt.removed["requests in the inbox"] == 1
    assert receipt.removed["ledger: served_examples"] == 2
    assert receipt.removed["rows of the judge index"] >= 1
    assert receipt.removed["rows of training sets"] >= 1
    with opened.stores.ledger.read() as ledger:
        kept = ledger.execute(sa.select(forgettings)).one()
        renamed = ledger.scalars(
            sa.select(audit_log.c.subject).where(audit_log.c.subject.startswith("forgotten-"))
        ).all()
    assert json.loads(kept.receipt)["removed"] == dict(receipt.removed)
    assert len(renamed) >= 5


def test_others_are_untouched(opened: Project) -> None:
    before = rows_of_duckdb(opened.stores.warehouse.path)
    packs = {path: path.read_bytes() for path in documents(opened)}
    places = [place for path in packs for place in documents_in(path)]
    forget_user(opened, USER)
    after = rows_of_duckdb(opened.stores.warehouse.path)
    for table in ("traces", "messages", "scores", "labels", "corrections", "samples"):
        stay = [row for row in before[table] if not set(HERS) & {str(v) for v in row}]
        assert after[table] == stay, table
    (pack,) = documents(opened)
    (old,) = packs.values()
    for trace_id, start, end in places:
        same = pack.read_bytes()[start:end] == old[start:end]
        assert same == (trace_id not in HERS)
    (raw,) = (opened.stores.artifacts.root / "raw").iterdir()
    lines = zstandard.ZstdDecompressor().stream_reader(raw.read_bytes()).read().splitlines()
    rows = [*others()[:4], *her_traces(), *others()[4:]]
    expected = [b"" if row["trace_id"] in HERS else json.dumps(row).encode() for row in rows]
    assert lines == expected


def documents(project: Project) -> list[Path]:
    return sorted((project.stores.artifacts.root / "documents").glob("*.pack"))


def test_she_stays_forgotten_after_a_rebuild(opened: Project) -> None:
    forget_user(opened, USER)
    assert rebuild_warehouse(opened)["traces"] == 8
    assert traces_of(opened.folder) == {}


def test_she_stays_forgotten_when_an_older_copy_is_put_back(opened: Project, filled: Path) -> None:
    forget_user(opened, USER)
    opened.stores.ledger.close()
    shutil.rmtree(opened.data_dir)
    shutil.copytree(filled / "project" / ".flywheel", opened.data_dir)
    assert traces_of(opened.folder) != {}
    # Whatever comes next.
    done = CliRunner().invoke(cli, ["--project", str(opened.folder), "traces", "drain"])
    assert done.exit_code == 0, done.output
    assert traces_of(opened.folder) == {}
    assert reapply(open_project(opened.folder)) is None


def test_she_stays_forgotten_when_the_same_is_sent_again(opened: Project, filled: Path) -> None:
    forget_user(opened, USER)
    stores = opened.stores
    assert import_file(stores, filled / "traces.jsonl").new == 0
    renamed = write_lines(
        opened.folder.parent / "other.jsonl", [*her_traces(), trace("new", "a", "b")]
    )
    assert import_file(stores, renamed, app="shop").new == 1
    Inbox(stores.ledger, 64).take_in("otlp-json", "", her_request(), 2)
    drain_and_load(stores, opened.settings)
    with stores.ledger.read() as ledger:
        assert ledger.scalar(sa.select(sa.func.count()).select_from(inbox)) == 0
    assert traces_of(opened.folder) == {}


def test_who_is_spoken_of_is_not_whose_it_is() -> None:
    """A tool's answer about her, in somebody else's trace, keeps that trace in the archive."""

    class Hers:
        def is_gone(self, kind: str, name: str, apps: frozenset[str]) -> bool:
            return kind == "user" and name == USER

    about = json.dumps({"user_id": USER})
    said = trace("other", "Who is it?", about, user_id="u2")
    value = {"key": "output.value", "value": {"stringValue": about}}
    span = {"traceId": "0a" * 16, "spanId": "0b" * 8, "attributes": [value]}
    for row in (said, {"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}):
        line = json.dumps(row).encode()
        assert Sieve(Hers()).sift(line, "") is line
    span["attributes"] = [{"key": "user.id", "value": {"stringValue": USER}}]
    line = json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}).encode()
    assert Sieve(Hers()).sift(line, "") == b""


def test_whoever_stores_is_waited_for_by_whoever_forgets(opened: Project) -> None:
    """Or what was sifted before the tombstone would be stored after everything was removed."""
    forgets = Thread(target=forget_user, args=(opened, USER))
    with opened.stores.nobody_forgotten():
        forgets.start()
        forgets.join(0.5)
        assert not (opened.folder / "tombstones.jsonl").exists()
    forgets.join(120)
    assert (opened.folder / "tombstones.jsonl").exists()


def test_whoever_is_killed_runs_it_again_and_it_completes(opened: Project) -> None:
    """Killed ever later after the tombstone stands; the last run goes through."""
    opened.stores.ledger.close()
    command = [sys.executable, "-c", "from flywheel.cli import main; main()"]
    command += ["--project", str(opened.folder), "traces", "forget", "--user", USER, "--json"]
    for delay_s in (0.1, 0.6):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while not (opened.data_dir / "forgetting.lock").exists() and process.poll() is None:
            time.sleep(0.01)
        time.sleep(delay_s)
        process.send_signal(signal.SIGKILL)
        process.wait()
        (opened.data_dir / "forgetting.lock").unlink(missing_ok=True)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["is_clean"]
    assert traces_of(opened.folder) == {}
    assert USER not in done.stdout


@pytest.mark.parametrize("step", range(9))
def test_a_kill_between_any_two_steps_is_made_good(
    opened: Project, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flywheel.forgetting import archives, forgetting

    steps = [
        *((archives, name) for name in ("rewrite_archives", "rewrite_snapshots", "blank_packs")),
        *((forgetting, name) for name in ("sift_inbox", "rewrite_indexes", "remove_rows")),
        *((forgetting, name) for name in ("remove_from_warehouse", "note_forgettings", "_keep")),
    ]
    with monkeypatch.context() as patched:
        patched.setattr(*steps[step], killed)
        with pytest.raises(KeyboardInterrupt):
            forget_user(opened, USER)
    receipt = forget_user(opened, USER)
    assert traces_of(opened.folder) == {}
    assert receipt.forgetting_id == opened.stores.tombstones.lines()[0].forgetting_id


def killed(*_: object) -> None:
    raise KeyboardInterrupt


def test_what_came_live_is_forgotten_too(opened: Project) -> None:
    drain_and_load(opened.stores, opened.settings)
    found = traces_of(opened.folder, [SPAN_TRACE])
    assert any("documents" in name for name in found)
    receipt = forget_user(opened, USER)
    assert receipt.removed["warehouse: spans"] == 1
    assert traces_of(opened.folder) == {}
    spans = rows_of_duckdb(opened.stores.warehouse.path)["spans"]
    assert [row[1] for row in spans] == ["0" * 31 + "1"]
    rebuild_warehouse(opened)
    assert traces_of(opened.folder) == {}


def test_forgotten_in_one_application_she_stays_in_another(
    project: Project, tmp_path: Path
) -> None:
    rows = [
        trace("in-shop", "a", "b", user_id=USER),
        trace("in-bank", "c", "d", user_id=USER, app="bank", session_id="s2"),
    ]
    path = write_lines(tmp_path / "two.jsonl", rows)
    import_file(project.stores, path)
    assert forget_user(project, USER, app="shop").removed["warehouse: traces"] == 1
    rebuild_warehouse(project)
    assert [row[0] for row in rows_of_duckdb(project.stores.warehouse.path)["traces"]] == [
        "in-bank"
    ]


def test_the_adapters_that_learnt_from_her_are_named(opened: Project) -> None:
    from flywheel.registry import register

    with opened.stores.ledger.read() as ledger:
        hers = ledger.scalars(
            sa.select(decisions.c.decision_id).where(decisions.c.trace_id == HERS[0])
        ).all()
    manifests = {"judge-a": [str(hers[-1])], "judge-b": ["999"]}
    for version, learnt in manifests.items():
        about = {"corrections": learnt}
        register(opened.stores.ledger, "judge", version, about, version, None, "pipeline")
    assert forget_user(opened, USER).adapters == ("judge-a",)


def test_the_next_decision_does_not_get_the_number_of_a_forgotten_one(opened: Project) -> None:
    decided(opened, HERS[1], False)
    with opened.stores.ledger.read() as ledger:
        newest = ledger.scalar(sa.select(sa.func.max(decisions.c.decision_id)))
    forget_user(opened, USER)
    decided(opened, "other-3", False)
    with opened.stores.ledger.read() as ledger:
        assert ledger.scalar(sa.select(sa.func.max(decisions.c.decision_id))) == newest + 1


def test_a_file_left_in_place_is_named_and_not_loaded_again(
    project: Project, tmp_path: Path
) -> None:
    path = write_lines(tmp_path / "mine.jsonl", [*her_traces(), *others()])
    import_file(project.stores, path, copy=False)
    assert forget_user(project, USER).left_in_place == (str(path),)
    assert rebuild_warehouse(project)["traces"] == 8


def test_an_empty_name_is_refused(project: Project) -> None:
    with pytest.raises(BadInput, match="name the user"):
        forget_user(project, " ")


def test_tombstones_without_their_key_are_refused(project: Project) -> None:
    forget_user(project, USER)
    (project.folder / "tombstones.key").unlink()
    with pytest.raises(BadInput, match="restore the key"):
        reapply(open_project(project.folder))


# Retention


def test_traces_that_are_too_old_go_and_others_stay(tmp_path: Path) -> None:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "flywheel.toml").write_text(
        "[traces]\nretention_days = 10\n[retention.bank]\ndays = 100\n[retention.kept]\ndays = 0\n",
        encoding="utf-8",
    )
    project = open_project(folder)
    rows = [
        trace(
            f"{app}-{age}",
            "a",
            "b",
            app=app,
            started_at=f"{date.today() - timedelta(age)}T10:00:00Z",
        )
        for app in ("shop", "bank", "kept")
        for age in (5, 50, 500)
    ]
    import_file(project.stores, write_lines(tmp_path / "t.jsonl", rows))
    # No trace is made of it, since nothing in it is a message.
    silent = {"traceId": "0a" * 16, "spanId": "0b" * 8, "name": "GET /health"}
    silent |= {"startTimeUnixNano": "1735689600000000000", "endTimeUnixNano": "1735689600000000000"}
    request = {"resourceSpans": [{"scopeSpans": [{"spans": [silent]}]}]}
    import_file(project.stores, write_lines(tmp_path / "s.jsonl", [request]))
    receipt = expire(project)
    assert receipt is not None
    assert receipt.removed["warehouse: traces"] == 3
    assert receipt.removed["warehouse: spans"] == 1
    assert expire(project) is None
    rebuild_warehouse(project)
    left = {row[0] for row in rows_of_duckdb(project.stores.warehouse.path)["traces"]}
    assert left == {"shop-5", "bank-5", "bank-50", "kept-5", "kept-50", "kept-500"}
    assert traces_of(folder, ["shop-50", "bank-500"]) == {}
    project.stores.ledger.close()


def test_what_was_given_and_served_goes_with_the_conversation_or_at_its_age(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "flywheel.toml").write_text(
        "[retention.shop]\ndays = 10\n[retention.kept]\ndays = 0\n", encoding="utf-8"
    )
    project = open_project(folder)
    ledger = project.stores.ledger
    for name, app in (("of-shop", "shop"), ("of-kept", "kept"), ("of-all", "")):
        arms = [ExperimentArm("a", 0.5), ExperimentArm("b", 0.5)]
        plan = Plan("feedback:thumbs", 0.05)
        start_experiment(ledger, name, "prompt", arms, plan, "ada", app)
    rows = [
        trace(f"t-{age}", "a", "b", app="shop", session_id=f"s-{age}")
        | {"started_at": f"{date.today() - timedelta(age)}T10:00:00Z"}
        for age in (5, 50)
    ]
    rows += [
        trace(f"t-again-{age}", "a", "b", app="shop", session_id="s-again")
        | {"started_at": f"{date.today() - timedelta(age)}T10:00:00Z"}
        for age in (5, 50)
    ]
    import_file(project.stores, write_lines(tmp_path / "t.jsonl", rows))

    def give(experiment: str, session: str, age: int) -> None:
        row = {"experiment": experiment, "unit": f"{session}-{age}", "arm": "a"}
        row |= {"session_id": session, "first_at": now() - timedelta(age)}
        with ledger.begin() as connection:
            connection.execute(exposures.insert(), row)

    for experiment in ("of-shop", "of-kept", "of-all"):
        # Who was given an arm and sent no trace.
        give(experiment, "silent", 5)
        give(experiment, "silent", 50)
    for session in ("s-5", "s-50", "s-again"):
        give("of-all", session, 5)
    receipt = expire(project)
    assert receipt is not None
    assert receipt.removed["ledger: exposures"] == 2
    with ledger.read() as connection:
        left = connection.execute(sa.select(exposures.c.experiment, exposures.c.unit)).all()
    assert {tuple(row) for row in left} == {
        ("of-shop", "silent-5"),
        *(("of-kept", "silent-5"), ("of-kept", "silent-50")),
        # One application keeps for ever, and which of them it was is not known.
        *(("of-all", "silent-5"), ("of-all", "silent-50")),
        *(("of-all", "s-5-5"), ("of-all", "s-again-5")),
    }
    assert expire(project) is None
    ledger.close()


# Redaction of imports


def test_what_is_stored_of_an_import_is_masked(project: Project, tmp_path: Path) -> None:
    redactor = Redactor.of(PrivacySettings(rules=["email"], fields={"metadata.city": "drop"}))
    rows = [trace("t1", "I am bob@example.org", "Yes?", metadata={"city": "Ulmburg"})]
    path = write_lines(tmp_path / "mine.jsonl", rows)
    with path.open("a", encoding="utf-8") as file:
        file.write("{not json bob@example.org\n")
    report = import_file(project.stores, path, redactor=redactor)
    assert (report.new, len(report.rejected)) == (1, 1)
    assert traces_of(project.folder, ["bob@example.org", "Ulmburg"]) == {}
    assert import_file(project.stores, path, redactor=redactor).duplicate == 1
    with pytest.raises(BadInput, match="import it with a copy"):
        import_file(project.stores, path, copy=False, redactor=redactor)


# Who holds what


def test_every_table_says_what_becomes_of_it(project: Project) -> None:
    assert sorted(ledger_tables.metadata.tables) == [holder.name for holder in LEDGER]
    with project.stores.warehouse.open() as connection:
        names = connection.raw.execute("select table_name from duckdb_tables()").fetchall()
    assert sorted(name for (name,) in names) == [holder.name for holder in WAREHOUSE]


def test_every_folder_says_what_becomes_of_it(filled: Path) -> None:
    data = filled / "project" / ".flywheel"
    kinds = {path.name.split("-")[0] for path in (data / "artifacts").iterdir() if path.is_dir()}
    assert kinds <= {holder.name for holder in ARTIFACTS}
    known = {holder.name for holder in FILES} | {"artifacts", "ledger.sqlite", "warehouse.duckdb"}
    rest = {p.name for p in data.iterdir()} - known
    assert {name for name in rest if not name.endswith((".lock", "-wal", "-shm"))} == set()


def test_the_ledger_forgets_on_either_database(ledger: Ledger) -> None:
    add_items(ledger, "hers", "other")
    note(ledger, "hers", "ann", "decide")
    note(ledger, "other", "ann", "decide")
    note(ledger, "hers", "bob", "decide")
    comment(ledger, "hers", "any", "ann", REMARK)
    gone = Selection(traces={"hers"}, users={USER}, examples={"1", "3"})
    n = remove_rows(ledger, gone, lambda name: "somebody")
    assert n["decisions"] == 2
    assert n["queue_items"] == n["comments"] == n["audit_log"] == 1
    assert [row["trace_id"] for row in rows_of(ledger, decisions)] == ["other", ""]
    assert [row["trace_id"] for row in rows_of(ledger, queue_items)] == ["other"]
    assert ledger.vacuum()


def test_what_was_learnt_from_her_names_her_traces_no_more(project: Project) -> None:
    """Functions and regression cases hold ids of traces, in three places."""
    ledger = project.stores.ledger
    code = "def one():\n    return 1\n"
    shape = {"type": "object", "properties": {}}
    learnt = FunctionRecord("one", "One.", shape, code, traces=("hers-77", "other"))
    put_live(ledger, learnt, "ann", "first")
    cases = "".join(
        json.dumps({"case": f"c-{name}", "kind": "regression", "trace_id": name}) + "\n"
        for name in ("hers-77", "other")
    )
    file = project.folder / "cases" / "regressions.jsonl"
    file.parent.mkdir(parents=True)
    file.write_text(cases)
    evidence = Evidence("said")
    for kind, subject, text in (
        ("function", "one", learnt.text),
        ("case", "regressions.jsonl", cases),
    ):
        propose(ledger, Draft(kind, subject, "add", None, text, "why", evidence), "a-model")  # type: ignore[arg-type]
    remove_gone(project, Aged(frozenset({"hers-77"})), Selection(traces={"hers-77"}))
    kept = [rows_of(ledger, functions), rows_of(ledger, proposals), file.read_text()]
    assert "hers-77" not in str(kept)
    assert file.read_text() == cases.splitlines(keepends=True)[1]
    # The version is the same one, and the proposals are of it.
    (left,) = list_functions(ledger)
    assert (left.record.version, left.version) == (learnt.version, learnt.version)
    assert left.record.traces == ("other",)
    assert find_proposal(ledger, 1).draft.after == left.record.text
    assert find_proposal(ledger, 2).draft.after == file.read_text()
