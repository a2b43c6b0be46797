"""Endpoints and what lasts: a real model behind faults, and a judge that is killed at its work."""

import json
import multiprocessing
import os
import re
import signal
import time
from collections import Counter
from pathlib import Path

import pytest
import sqlalchemy as sa

from flywheel.judge.cache import VerdictCache, generative_opinions, input_hash
from flywheel.judge.configured import configured_judge
from flywheel.judge.judge import Opinion
from flywheel.judge.prompted import PromptedJudge
from flywheel.judge.rubric import Rubric
from flywheel.models.endpoint import Endpoint
from flywheel.models.spending import most_prompt_tokens, spent_today
from flywheel.records import Conversation, Turn
from flywheel.settings import PROJECT_FILE, GenerativeSettings
from flywheel.store import Project, open_project
from flywheel.store.ledger import Ledger
from flywheel.store.tables import verdict_cache
from tests.faulty_proxy import LABEL, Double, FaultyProxy, Json, Log, completion
from tests.model_server import ModelServer
from tests.test_endpoint import PRICED, answers_of, prompts_of

PATIENCE_S = 120.0
CONCURRENCY = 4
RUBRIC = Rubric("1", "The user says that the answer is wrong.")


def test_a_real_server_behind_faults_leaves_no_prompt_without_an_end(
    real_server: ModelServer, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flywheel.models.attempts.FIRST_WAIT_S", 0.01)
    prompts, faults = prompts_of(8), ("", "", "limited", "broken", "cut", "refusal")
    with FaultyProxy(real_server.url, seed=3, faults=faults) as server:
        settings = GenerativeSettings(
            model=real_server.model,
            base_url=server.url,
            api_key_env="",
            max_reply_tokens=8,
            retries=2,
            concurrency=2,
            timeout_s=120.0,
            **PRICED,
        )
        answers = answers_of(Endpoint("paid", settings, ledger), prompts)
        met = {prompt.key: server.sequence(prompt.key, 3) for prompt in prompts}
        by_fault = Counter(one.fault for one in server.log.seen)
    for prompt, answer in zip(prompts, answers, strict=True):
        ending = next((fault for fault in met[prompt.key] if fault in ("", "refusal")), "failed")
        assert answer.failure == {"": "", "refusal": "refused", "failed": "failed"}[ending]
        if ending == "":
            # The model itself: it wrote something, and no probability came with it.
            assert answer.text
            assert answer.label_probability is None
            assert 0 < answer.prompt_tokens <= most_prompt_tokens(prompt)
            assert 0 < answer.completion_tokens <= 8
    spent = spent_today(ledger, "paid")
    assert spent.usd == pytest.approx(sum(answer.cost_usd for answer in answers))
    assert spent.calls == by_fault.total()
    assert spent.by_outcome.get("refused", 0) == by_fault["refusal"]
    # Eight tokens are no whole reply, so what came is counted as one that could not be read.
    assert spent.by_outcome.get("unparsed", 0) == by_fault[""]


def test_the_name_of_another_model_is_said_at_once(
    real_server: ModelServer, ledger: Ledger
) -> None:
    settings = GenerativeSettings(model="other", base_url=real_server.url, api_key_env="")
    (answer,) = answers_of(Endpoint("paid", settings, ledger), prompts_of(1))
    assert answer.failure == "failed"
    assert answer.why.startswith("the server answered 400: “Server is pinned to ")


def conversation(number: int) -> Conversation:
    turns = (
        Turn(0, "user", f"What is conversation {number:03} about?"),
        Turn(1, "assistant", "Trains."),
        Turn(2, "user", "No, that is wrong."),
    )
    return Conversation(f"t{number}", f"v1-{number}", turns, "s", "shop")


def judged(body: Json) -> tuple[int, object]:
    """A reply of the shape that a judge asks for."""
    reply = {LABEL: True, "reason_code": "rejection", "reason": "message 2 says so"}
    return 200, completion(json.dumps(reply))


def numbers_of(log: Log) -> Counter[int]:
    """How often each conversation was sent."""
    found = (re.findall(r"conversation (\d{3})", json.dumps(one.body)) for one in log.seen)
    return Counter(int(numbers[-1]) for numbers in found)


def test_a_table_of_the_settings_is_all_that_such_a_judge_needs(tmp_path: Path) -> None:
    with Double(judged) as server:
        (tmp_path / PROJECT_FILE).write_text(
            f'[judge]\ngenerative = "paid"\n[judges.paid]\nmodel = "double"\n'
            f'base_url = "{server.url}"\nusd_per_million_prompt_tokens = 1.0\n'
        )
        opened = open_project(tmp_path)
        judge = configured_judge(opened)
        assert judge is not None
        ((_, opinion),) = judge.opinions([conversation(1)], [()])
        opened.stores.ledger.close()
    assert isinstance(opinion, Opinion)
    # 100 tokens at a millionth each.
    assert opinion.cost_usd == pytest.approx(1e-4)
    assert (opinion.prompt_tokens, opinion.completion_tokens) == (100, 20)


def _judge_all(ledger_url: str, url: str, n: int) -> None:
    """What a run does with its generative tier, in a process of its own."""
    ledger = Ledger(ledger_url)
    settings = GenerativeSettings(
        model="double", base_url=url, api_key_env="", concurrency=CONCURRENCY, **PRICED
    )
    judge = PromptedJudge("paid", Endpoint("paid", settings, ledger), RUBRIC)
    conversations = [conversation(number) for number in range(n)]
    opinions, _ = generative_opinions(
        VerdictCache(ledger), judge, conversations, [()] * n, lambda done, total: None
    )
    assert all(isinstance(opinion, Opinion) for opinion in opinions)


def test_what_was_answered_and_stored_is_not_paid_for_twice_after_a_kill(project: Project) -> None:
    ledger = project.stores.ledger
    n, spawn = 40, multiprocessing.get_context("spawn")
    hashes = {input_hash(conversation(number)): number for number in range(n)}

    def stored() -> set[int]:
        with ledger.read() as connection:
            return {hashes[h] for h in connection.scalars(sa.select(verdict_cache.c.input_hash))}

    with Double(judged, delay_s=0.1) as server:
        arguments = (ledger.url, server.url, n)
        first = spawn.Process(target=_judge_all, args=arguments)
        first.start()
        deadline = time.monotonic() + PATIENCE_S
        while len(server.log.seen) < 15:
            assert time.monotonic() < deadline
            assert first.is_alive()
            time.sleep(0.01)
        os.kill(first.pid or 0, signal.SIGKILL)
        first.join(PATIENCE_S)
        kept, sent = stored(), numbers_of(server.log)
        # It was in the middle, and at most as many answers are lost as may be under way.
        assert 0 < len(kept) < n
        assert set(sent.values()) == {1}
        assert len(sent) - len(kept) <= CONCURRENCY

        second = spawn.Process(target=_judge_all, args=arguments)
        second.start()
        second.join(PATIENCE_S)
        assert second.exitcode == 0
        assert stored() == set(range(n))
        again = numbers_of(server.log)
    assert {number: again[number] for number in kept} == dict.fromkeys(kept, 1)
    assert again.total() <= n + CONCURRENCY
    # What was booked when it was killed stays counted, whether or not its request had left.
    spent = spent_today(ledger, "paid")
    n_lost = spent.by_outcome.get("running", 0)
    assert spent.calls == spent.by_outcome["ok"] + n_lost
    assert max(n, again.total()) <= spent.calls <= n + CONCURRENCY
