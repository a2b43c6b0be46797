"""Batches that are read elsewhere: by the plan of a stage, and by Ray's own processes."""

import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from flywheel.errors import BadSetting
from flywheel.in_use import embedder_of
from flywheel.judge.files import load_judge, save_judge
from flywheel.judge.judge import Judge
from flywheel.judge.prototypes import prototypes
from flywheel.judge.scoring import score_day
from flywheel.loop import judge_day
from flywheel.models import ray_engine
from flywheel.models.embedder import BUNDLED, Embedder, Vectors, load_embedder
from flywheel.models.engine import CPU_TIME, LOCAL, BatchReader, Engine, Job
from flywheel.models.ray_engine import RayEngine, engine_of
from flywheel.records import Tier
from flywheel.settings import ComputeSettings
from flywheel.store import Project, open_project
from tests.conftest import trace
from tests.drawn import LEVERS, drawn_encoder, drawn_judge
from tests.judged import DAY, add_traces
from tests.test_judge import draw, rows_of

Row = Mapping[str, object]
# Three chunks of the verdict cache, the last one not full; some texts stand in several.
N = 140
# What is measured anew each time.
MEASURED = {"cost_usd", "latency_ms"}
# Ray warns of its own.
ON_RAY = pytest.mark.filterwarnings("ignore::DeprecationWarning")


class AheadEngine:
    """Reads what is planned at once, and counts how many jobs each plan brought."""

    def __init__(self) -> None:
        self.planned: list[int] = []
        self.unplanned = 0
        self._made: dict[Job, Vectors] = {}

    @contextmanager
    def reading(self, jobs: Iterable[Job]) -> Iterator[None]:
        fresh = [job for job in dict.fromkeys(jobs) if job not in self._made]
        self._made |= {job: job[0](job[1]) for job in fresh}
        self.planned.append(len(fresh))
        yield

    def read(self, job: Job, here: BatchReader) -> Vectors:
        if job not in self._made:
            self.unplanned += 1
            return here(job[1])
        return self._made.pop(job)


def traces() -> list[dict[str, object]]:
    """Traces of unlike lengths."""
    return [
        trace(
            f"t{i:03}",
            f"Where is crate {i % 90}?",
            "It will be there soon. " * (1 + i % 7),
            f"It is grey, and {i} is over." if i % 3 else "thanks",
            "I am sorry to hear it. " * (1 + i % 5),
            "No, the other one. " * (1 + i % 11),
        )
        for i in range(N)
    ]


@pytest.fixture(scope="module")
def lora_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A judge's files, its best tier that with an adapter."""
    folder = tmp_path_factory.mktemp("judge")
    embedder = load_embedder(BUNDLED, 1)
    save_judge(drawn_judge(embedder, drawn_encoder(embedder)), folder, {})
    return folder


Scored = Callable[..., list[Row]]


@pytest.fixture
def scored(lora_folder: Path, tmp_path: Path) -> Scored:
    """Scores a day in a project of its own: the rows by this engine, and this best tier."""

    def rows(engine: Engine, best: Tier = "lora") -> list[Row]:
        project = open_project(tmp_path / f"{type(engine).__name__}-{best}")
        add_traces(project.stores, traces())
        draw(project.stores, N)
        judge = replace(judge_by(lora_folder, engine), best=best)
        score_day(project.stores, judge, DAY)
        found = compared(project)
        project.stores.ledger.close()
        return found

    return rows


def judge_by(folder: Path, engine: Engine) -> Judge:
    """The judge on an embedder of its own that has embedded the prototypes, and nothing else."""
    embedder = Embedder(BUNDLED, 1, engine=LOCAL)
    embedder.encode([text for _, text in prototypes()])
    embedder.engine = engine
    return load_judge(folder, embedder)


def compared(project: Project) -> list[Row]:
    rows = rows_of(project.stores, "scores")
    return [{k: v for k, v in row.items() if k not in MEASURED} for row in rows]


# Without Ray


@pytest.mark.parametrize("best", ["lora", "frozen"])
def test_the_plan_of_a_stage_has_every_batch_and_no_other(scored: Scored, best: Tier) -> None:
    engine = AheadEngine()
    assert scored(engine, best) == scored(LOCAL, best)
    # More than one a chunk.
    assert engine.planned[0] > 3
    # Inside the stage nothing is left to plan, nor to read.
    assert sum(engine.planned[1:]) == 0
    assert engine.unplanned == 0
    assert engine._made == {}


def test_the_plan_of_the_judge_without_labels_has_every_batch(lora_folder: Path) -> None:
    from flywheel.judge.cold_start import cold_start_judge

    engine = AheadEngine()
    embedder = judge_by(lora_folder, engine).models["frozen"].embedder
    judge = cold_start_judge(embedder, LEVERS)
    plain = cold_start_judge(judge_by(lora_folder, LOCAL).models["frozen"].embedder, LEVERS)
    chunks = conversations_in_chunks()
    with judge.reading(chunks, "frozen"):
        ahead = [judge.opinions(chunk, "frozen") for chunk in chunks]
    assert ahead == [plain.opinions(chunk, "frozen") for chunk in chunks]
    assert (sum(engine.planned[1:]), engine.unplanned) == (0, 0)


def conversations_in_chunks() -> list[list]:
    from tests.made_up import made_up

    rows = [row.conversation for row in made_up(60, n_rounds=2)]
    return [rows[:25], rows[25:50], rows[50:]]


def test_a_tier_of_words_has_nothing_to_send(lora_folder: Path) -> None:
    engine = AheadEngine()
    with judge_by(lora_folder, engine).reading(conversations_in_chunks(), "lexical"):
        assert engine.planned == []


def test_by_itself_everything_is_read_here(project: Project) -> None:
    assert engine_of(ComputeSettings()) is LOCAL
    assert embedder_of(project).engine is LOCAL


def test_without_ray_its_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_engine, "find_spec", lambda name: None)
    with pytest.raises(BadSetting, match=r"pip install 'flywheel-loop\[ray\]'"):
        engine_of(ComputeSettings(engine="ray"))


def test_a_few_batches_do_not_start_ray(lora_folder: Path) -> None:
    engine = RayEngine(least=10_000)
    judge, plain = (judge_by(lora_folder, one) for one in (engine, LOCAL))
    (chunk, *_) = conversations_in_chunks()
    with judge.reading([chunk], "lora"):
        assert judge.opinions(chunk, "lora") == plain.opinions(chunk, "lora")
    assert engine._streams == []


# With it


@pytest.fixture(scope="module")
def _ray() -> Iterator[None]:
    if find_spec("ray") is None:
        pytest.skip("Ray is not installed; run `pip install 'flywheel-loop[ray]'`")
    yield
    import ray

    ray.shutdown()


@pytest.fixture
def in_small_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_engine, "_BATCHES_A_TASK", 2)


@ON_RAY
@pytest.mark.usefixtures("_ray", "in_small_tasks")
def test_ray_gives_the_same_vectors() -> None:
    texts = [str(m["content"]) for t in traces() for m in t["messages"]]
    found = [Embedder(engine=engine).encode(texts) for engine in (LOCAL, RayEngine(least=1))]
    assert found[0].tobytes() == found[1].tobytes()
    # Which says something: read in other batches, the same texts differ in their last bits.
    apart = np.vstack([Embedder().encode(texts[i : i + 64]) for i in range(0, len(texts), 64)])
    assert apart.tobytes() != found[0].tobytes()
    assert np.abs(apart - found[0]).max() < 1e-5


@ON_RAY
@pytest.mark.usefixtures("_ray", "in_small_tasks")
def test_ray_gives_the_same_rows(scored: Scored) -> None:
    before = CPU_TIME._elsewhere_s
    rows = scored(RayEngine(least=1))
    assert CPU_TIME._elsewhere_s > before, "nothing was read elsewhere"
    assert rows == scored(LOCAL)


@ON_RAY
@pytest.mark.usefixtures("_ray", "in_small_tasks")
def test_a_killed_worker_changes_no_row(scored: Scored) -> None:
    scored(RayEngine(least=1), "frozen")
    killed: list[int] = []
    enough = threading.Event()
    killer = threading.Thread(target=kill_at_work, args=(2, killed, enough))
    killer.start()
    try:
        rows = scored(RayEngine(least=1))
    finally:
        enough.set()
        killer.join()
    assert len(killed) == 2
    assert rows == scored(LOCAL)


@ON_RAY
@pytest.mark.usefixtures("_ray", "in_small_tasks")
def test_the_setting_moves_a_day_to_ray(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RayEngine.__init__, "__defaults__", ("", 0, 1, 1))
    ray_engine._ray_engine.cache_clear()
    other = open_project(tmp_path / "other")
    compute = ComputeSettings(engine="ray", threads=1, ray_workers=2)
    by_ray = replace(other, settings=other.settings.model_copy(update={"compute": compute}))
    here = project.settings.model_copy(update={"compute": ComputeSettings(threads=1)})
    assert isinstance(embedder_of(by_ray).engine, RayEngine)
    for each in (by_ray, replace(project, settings=here)):
        embedder_of(each)._cache.clear()
        add_traces(each.stores, traces())
        draw(each.stores, N)
        report = judge_day(each, DAY)
        assert report.scored["frozen"] == N
        assert report.cost_usd["frozen"] > 0
    assert compared(by_ray) == compared(project)
    other.stores.ledger.close()


@ON_RAY
@pytest.mark.usefixtures("_ray")
def test_ray_listens_on_loopback_and_leaves_sigterm_alone() -> None:
    before = signal.getsignal(signal.SIGTERM)
    Embedder(engine=RayEngine(least=1)).encode(["a lamp"])
    assert signal.getsignal(signal.SIGTERM) is before
    import ray

    assert [node["NodeManagerAddress"] for node in ray.nodes()] == ["127.0.0.1"]
    mine = {child for child in processes() if is_below(child, os.getpid())}
    addresses = listening(mine)
    assert len(addresses) > 3
    # 127.0.0.1 as the kernel writes it, by itself and in IPv6.
    assert {address[-8:] for address in addresses} == {"0100007F"}


def kill_at_work(n: int, killed: list[int], enough: threading.Event) -> None:
    """Kill the first `n` workers below this process that are seen reading."""
    while not enough.is_set() and len(killed) < n:
        for pid, said in processes().items():
            is_reading = said.startswith("ray::MapBatches")
            if is_reading and len(killed) < n and pid not in killed and is_below(pid, os.getpid()):
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)


def processes() -> dict[int, str]:
    """What each process says that it is."""
    found = {}
    for place in Path("/proc").iterdir():
        try:
            found[int(place.name)] = (place / "cmdline").read_text(errors="replace")
        except (ValueError, OSError):
            continue
    return found


def is_below(pid: int, ancestor: int) -> bool:
    while pid > 1 and pid != ancestor:
        try:
            # After the name, which may hold spaces: the state, and the parent.
            pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            return False
    return pid == ancestor


def listening(pids: Iterable[int]) -> list[str]:
    """The addresses on which these processes listen."""
    inodes = set()
    for pid in pids:
        try:
            links = [os.readlink(link) for link in Path(f"/proc/{pid}/fd").iterdir()]
        except OSError:
            continue
        inodes |= {link[8:-1] for link in links if link.startswith("socket:[")}
    lines = [
        line.split()
        for name in ("tcp", "tcp6")
        for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]
    ]
    return [line[1].split(":")[0] for line in lines if line[3] == "0A" and line[9] in inodes]
