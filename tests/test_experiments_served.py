"""Experiments by HTTP, from a real server: arms by key and by client, few-shots, the page."""

import asyncio
import json
from collections.abc import Iterable

import httpx
import pytest
import sqlalchemy as sa
from click.testing import CliRunner, Result

from flywheel.cli.main import cli
from flywheel.client import Arm, AsyncClient, Client
from flywheel.experiments.experiment import Experiment, ExperimentArm, Plan
from flywheel.experiments.publishing import look_at_experiments, published_experiments
from flywheel.experiments.running import get_experiment, start_experiment, stop_experiment
from flywheel.loop import learn
from flywheel.review import decide
from flywheel.store import Project, open_project
from flywheel.store.ledger import now
from flywheel.store.tables import exposures, served_examples
from flywheel.traces.draining import drain_and_load
from flywheel.web.app import create_app
from tests.conftest import trace
from tests.judged import add_scores, add_traces, said
from tests.scripted_server import Script, scripted
from tests.served import Server, free_port, key_of, serving
from tests.signed_in import add_person, client_of, csrf_of
from tests.test_client import PATIENCE_S, quick, until
from tests.test_serving import BETTER, chat, put

REQUEST = "a table for four on friday, please"
SAID = [
    {"role": "user", "content": "a table"},
    {"role": "assistant", "content": "For Thursday."},
    {"role": "user", "content": "No, Friday."},
]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterable[Project]:
    """A project with an example to serve, an experiment of prompts and one of few-shots."""
    made = open_project(tmp_path_factory.mktemp("experiments") / "project")
    put(made.stores, chat("a", REQUEST))
    decide(made.stores.ledger, said("a", True, **BETTER))
    plan = Plan("verdict", 0.1)
    prompts = (ExperimentArm("plain", 0.5, "Be brief."), ExperimentArm("warm", 0.5, {"tone": 1}))
    start_experiment(made.stores.ledger, "tone", "prompt", prompts, plan, "ann", "shop")
    policies = (ExperimentArm("five", 0.5), ExperimentArm("none", 0.5, {"k": 0}))
    start_experiment(made.stores.ledger, "shots", "few-shots", policies, plan, "ann", "shop")
    yield made
    made.stores.ledger.close()


@pytest.fixture(scope="module")
def server(shop: Project) -> Iterable[Server]:
    with serving(shop) as running:
        yield running


@pytest.fixture(scope="module")
def key(shop: Project, server: Server) -> str:
    return key_of(shop, "shop-app", "service")


@pytest.fixture(scope="module")
def application(server: Server, key: str) -> Iterable[httpx.Client]:
    """A client with the key of an application."""
    headers = {"Authorization": f"Bearer {key}"}
    with httpx.Client(base_url=server.url, headers=headers, trust_env=False, timeout=60) as client:
        yield client


def exposed(project: Project, experiment: str) -> dict[str | None, str]:
    """The arm of each session that is known to have been given one."""
    found = sa.select(exposures.c.session_id, exposures.c.arm).where(
        exposures.c.experiment == experiment
    )
    with project.stores.ledger.read() as connection:
        return {row.session_id: row.arm for row in connection.execute(found)}


def session_of(experiment: Experiment, arm: str, number: int = 0) -> str:
    """A session that is given this arm."""
    names = (f"of-{number}-{i}" for i in range(100))
    return next(name for name in names if experiment.arm_of(name).name == arm)


def flywheel(project: Project, *words: str) -> Result:
    return CliRunner().invoke(cli, ["--project", str(project.folder), *words])


# By key


def test_an_application_is_told_the_arm_of_a_session(
    shop: Project, application: httpx.Client
) -> None:
    experiment = get_experiment(shop.stores.ledger, "tone")
    for arm, value in (("plain", "Be brief."), ("warm", {"tone": 1})):
        session = session_of(experiment, arm, 1)
        for _ in range(2):
            answer = application.post(
                "/v1/experiments/tone/arm", json={"app": "shop", "session_id": session}
            )
            body = answer.json()
            assert answer.status_code == 200, answer.text
            assert (body["arm"], body["value"], body["is_counted"]) == (arm, value, True)
            assert (body["first_arm"], body["first_value"]) == ("plain", "Be brief.")
            assert body["request_id"] == answer.headers["X-Request-Id"]
        until(lambda session=session: session in exposed(shop, "tone"))
        assert exposed(shop, "tone")[session] == arm


@pytest.mark.parametrize(
    ("name", "body", "status", "why"),
    [
        ("tone", {"app": "shop"}, 422, "session_id or user_id"),
        ("tone", {"app": "shop", "session_id": "s", "arm": "warm"}, 422, "arm"),
        ("tome", {"app": "shop", "session_id": "s"}, 404, "did you mean 'tone'"),
    ],
)
def test_what_cannot_be_answered_says_why(
    application: httpx.Client, name: str, body: dict[str, object], status: int, why: str
) -> None:
    headers = {"Content-Type": "application/json"}
    path = f"/v1/experiments/{name}/arm"
    answer = application.post(path, content=json.dumps(body), headers=headers)
    assert answer.status_code == status
    assert why in answer.json()["error"]


def test_few_shots_are_served_by_the_arm_and_only_who_may_notice_is_counted(
    shop: Project, application: httpx.Client
) -> None:
    experiment = get_experiment(shop.stores.ledger, "shots")
    five, none = (session_of(experiment, arm, 2) for arm in ("five", "none"))
    asked = {"app": "shop", "text": REQUEST}
    for session, arm, n in ((five, "five", 1), (none, "none", 0)):
        body = application.post("/v1/few-shots", json=asked | {"session_id": session}).json()
        assert (body["experiment"], body["arm"], len(body["examples"])) == ("shots", arm, n)
    # Nothing is like this request, so that either arm would serve nothing.
    unlike = session_of(experiment, "none", 3)
    strange = {"text": "ein ganz anderes Anliegen", "session_id": unlike}
    assert application.post("/v1/few-shots", json=asked | strange).json()["arm"] == "none"
    # Who names no session is in no experiment.
    assert application.post("/v1/few-shots", json=asked).json()["experiment"] is None
    until(lambda: {five, none} <= set(exposed(shop, "shots")))
    assert exposed(shop, "shots") == {five: "five", none: "none"}
    with shop.stores.ledger.read() as connection:
        rows = connection.scalars(sa.select(served_examples.c.session_id)).all()
    assert none not in rows


# By the client


def test_a_client_is_given_what_the_server_gives(shop: Project, server: Server, key: str) -> None:
    experiment = get_experiment(shop.stores.ledger, "tone")
    session = session_of(experiment, "warm", 4)
    with Client(server.url, key, "shop") as client:
        arm = client.arm("tone", session_id=session, timeout_s=PATIENCE_S)
        assert arm == Arm("warm", {"tone": 1}, True)
        unknown = client.arm("tome", session_id=session, fallback="old", timeout_s=PATIENCE_S)
        assert (unknown.name, unknown.is_counted) == ("old", False)
        assert "there is no experiment" in unknown.why

    async def ask() -> Arm:
        async with AsyncClient(server.url, key, "shop") as later:
            return await later.arm("tone", session_id=session, timeout_s=PATIENCE_S)

    assert asyncio.run(ask()) == arm


def test_a_client_without_a_server_keeps_what_it_was_given_and_never_raises() -> None:
    answer = {"arm": "warm", "value": 2, "is_counted": True, "why": ""}
    answer |= {"first_arm": "plain", "first_value": 1}
    port = free_port()
    with scripted(Script(body=json.dumps(answer).encode()), port) as script:
        client = Client(script.url, "fw_key", limits=quick())
        assert client.arm("tone", session_id="s1", timeout_s=PATIENCE_S).name == "warm"
        path, body = script.requests[0]
        assert path == "/v1/experiments/tone/arm"
        assert json.loads(body) == {"session_id": "s1", "app": ""}
        for wrong in (b"", b"[]", b"{", b'{"arm": 3}', b"[" * 100_000):
            script.body = wrong
            again = client.arm("tone", session_id="s1", timeout_s=PATIENCE_S)
            assert (again.name, again.value) == ("warm", 2)
            assert again.why
    known = client.arm("tone", session_id="s1")
    assert (known.name, known.value, bool(known.why)) == ("warm", 2, True)
    other = client.arm("tone", session_id="s2", fallback="third")
    assert (other.name, other.value, other.is_counted) == ("plain", 1, False)
    assert client.arm("else", user_id="u", fallback=Arm("third", 3)).value == 3
    assert client.arm("e\ud800/..", session_id="\ud800", fallback="third").name == "third"
    assert client.arm("else").name == ""
    client.close()


def test_an_experiment_that_nobody_began_is_no_failure_of_the_server() -> None:
    with scripted(Script(status=404)) as script:
        client = Client(script.url, "fw_key", limits=quick())
        for _ in range(5):
            why = client.arm("tone", session_id="s", timeout_s=PATIENCE_S).why
        assert "404" in why
        client.close()


# From the request to the conclusion


def test_sessions_that_were_served_end_in_a_conclusion_on_the_page(
    project: Project,
) -> None:
    """Applications ask and send traces; the loop looks; a person stops it on the page."""
    project.data_dir.mkdir(parents=True)
    begun = flywheel(
        project,
        *("experiments", "start", "tone", "--kind", "prompt", "--app", "shop", "--json"),
        *("--arm", "plain", "--arm", 'warm={"tone": "warm"}', "--outcome", "verdict"),
        *("--difference", "0.2"),
    )
    assert begun.exit_code == 0, begun.output
    assert json.loads(begun.output)["arms"][1]["value"] == {"tone": "warm"}
    key = key_of(project, "app", "service")
    with serving(project) as running, Client(running.url, key, "shop", limits=quick()) as client:
        arms = {}
        for i in range(120):
            arm = client.arm("tone", session_id=f"s{i}", timeout_s=PATIENCE_S)
            assert arm.is_counted, arm.why
            arms[client.log_trace(SAID, session_id=f"s{i}")] = arm.name
        assert client.flush(PATIENCE_S)
    drain_and_load(project.stores, project.settings)
    with project.stores.warehouse.open() as connection:
        rows = connection.raw.execute(
            "select trace_id, content_hash, day from traces where is_current"
        ).fetchall()
    assert {row[0] for row in rows} == set(arms)
    assert {row[2] for row in rows} <= {now().date()}
    verdicts = {
        trace_id: 0.9 if (arms[trace_id] == "warm") == (i % 10 < 8) else 0.1
        for i, (trace_id, _, _) in enumerate(sorted(rows))
    }
    add_scores(project.stores, verdicts, day=now().date())
    with project.stores.warehouse.open() as connection:
        connection.raw.execute(
            "update scores set content_hash = t.content_hash from traces as t "
            "where t.trace_id = scores.trace_id"
        )
    shown = flywheel(project, "experiments", "show", "tone")
    assert "warm against plain" in shown.output
    assert "is higher, by" in shown.output.replace("\n", " ")
    app = create_app(project)
    client_ = client_of(app, add_person(project, "ann", "engineer"))
    text = client_.get("/experiments").text
    assert "is higher, by" in text
    assert "{&#34;tone&#34;: &#34;warm&#34;}" in text
    form = {"csrf": csrf_of(app, client_), "why": "<b>We keep plain.</b>"}
    assert client_.post("/experiments/tone/stop", data=form).status_code == 303
    text = client_.get("/experiments").text
    assert "&lt;b&gt;We keep plain.&lt;/b&gt;" in text
    listed = json.loads(flywheel(project, "experiments", "list", "--json").output)
    assert listed[0]["conclusion"].endswith("<b>We keep plain.</b>")
    again = flywheel(project, "experiments", "stop", "tone")
    assert again.exit_code != 0


def test_the_loop_looks_when_it_learns(project: Project) -> None:
    arms = (ExperimentArm("a", 0.5), ExperimentArm("b", 0.5))
    start_experiment(project.stores.ledger, "one", "prompt", arms, Plan("verdict", 0.1), "ann")
    learn(project)
    (published,) = published_experiments(project.stores)
    assert published.reading.contrasts[0].state == "waiting"


def test_a_reviewer_does_not_see_the_arms(project: Project) -> None:
    app = create_app(project)
    client = client_of(app, add_person(project, "bob", "reviewer"))
    assert client.get("/experiments").status_code == 403
    assert "/experiments" not in client.get("/queue").text


def test_the_page_shows_experiments_in_every_state(project: Project) -> None:
    app = create_app(project)
    client = client_of(app, add_person(project, "ann", "engineer"))
    assert "No experiment yet" in client.get("/experiments").text
    hostile = (ExperimentArm("a", 0.5, "<script>x</script>"), ExperimentArm("b", 0.5))
    plan = Plan("feedback:<i>", 0.1)
    start_experiment(project.stores.ledger, "one", "prompt", hostile, plan, "ann", "<u>app</u>")
    page = client.get("/experiments").text
    assert "No look was taken yet" in page
    assert "<script>x" not in page
    assert "<u>app" not in page
    look_at_experiments(project.stores)
    assert "too early" in client.get("/experiments").text
    stop_experiment(project.stores.ledger, "one", "ann", "enough")
    assert "stopped" in client.get("/experiments").text
    add_traces(project.stores, [trace("x", "a", "b", "c")])
