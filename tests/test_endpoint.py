"""The endpoint: every prompt ends with a reply or its reason, whatever a server does.

The servers are real ones on loopback; most stand for a model with a double that says what a test
can work out (`tests/faulty_proxy.py`), and the last tests meet a model.
"""

import json
import math
from collections import Counter
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import islice, pairwise

import pytest
import sqlalchemy as sa

from flywheel.errors import BadSetting
from flywheel.models.attempts import pause_of
from flywheel.models.chat import Answer, Message, Prompt, ReplyShape
from flywheel.models.completions import is_whole, label_in, read_completion
from flywheel.models.endpoint import Endpoint
from flywheel.models.spending import spent_today
from flywheel.settings import GenerativeSettings
from flywheel.store import Project
from flywheel.store.ledger import Ledger
from flywheel.store.tables import judge_calls
from tests.faulty_proxy import (
    LABEL,
    RETRY_AFTER_S,
    Double,
    FaultyProxy,
    Json,
    Server,
    completion,
    key_of,
    said,
)

SHAPE = ReplyShape(LABEL)
PRICED = {"usd_per_million_prompt_tokens": 1.0, "usd_per_million_completion_tokens": 4.0}
# What the double's 100 and 20 tokens come to: 0.0001 + 0.00008.
COST_USD = 0.00018


def prompt_of(text: str) -> Prompt:
    messages = (Message("system", "Judge."), Message("user", text))
    return Prompt(
        key_of([{"role": m.role, "content": m.content} for m in messages]), messages, SHAPE
    )


def prompts_of(n: int) -> list[Prompt]:
    return [prompt_of(f"conversation {number}") for number in range(n)]


def text_for(prompt: Prompt) -> str:
    """What the double says to it."""
    return said([{"role": m.role, "content": m.content} for m in prompt.messages])


def endpoint(server: Server, ledger: Ledger, **fields: object) -> Endpoint:
    settings = {"model": "double", "base_url": server.url, "api_key_env": "", "timeout_s": 60.0}
    return Endpoint("paid", GenerativeSettings.model_validate(settings | fields), ledger)


def answers_of(model: Endpoint, prompts: list[Prompt]) -> list[Answer]:
    """One answer a prompt, in the order of the prompts."""
    found = dict(model.answers(prompts))
    assert sorted(found) == list(range(len(prompts)))
    return [found[index] for index in range(len(prompts))]


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is waited for of oneself; what a server asks for stays as it is."""
    monkeypatch.setattr("flywheel.models.attempts.FIRST_WAIT_S", 0.01)


@pytest.fixture
def books(project: Project) -> Ledger:
    """A ledger for those tests that have nothing to do with its kind."""
    return project.stores.ledger


def test_each_prompt_is_answered_with_its_tokens_and_its_price(books: Ledger) -> None:
    prompts = prompts_of(20)
    with Double() as server:
        answers = answers_of(endpoint(server, books, **PRICED), prompts)
    for prompt, answer in zip(prompts, answers, strict=True):
        assert (answer.text, answer.failure) == (text_for(prompt), "")
        assert (answer.prompt_tokens, answer.completion_tokens) == (100, 20)
        assert answer.cost_usd == pytest.approx(COST_USD)
        assert answer.label_probability is None
    spent = spent_today(books, "paid")
    assert spent.usd == pytest.approx(20 * COST_USD)
    assert (spent.calls, spent.by_outcome) == (20, {"ok": 20})


@pytest.mark.parametrize("structured", ["json_schema", "json_object", "none"])
def test_a_server_is_asked_for_json_as_the_settings_say(books: Ledger, structured: str) -> None:
    with Double() as server:
        answers_of(endpoint(server, books, structured=structured, logprobs=False), prompts_of(1))
        (one,) = server.log.seen
    body = one.body
    assert body["temperature"] == 0.0
    assert body["max_tokens"] == 160
    assert "logprobs" not in body
    asked = body.get("response_format")
    if structured == "json_schema":
        assert asked["type"] == "json_schema"
        assert asked["json_schema"]["strict"] is True
        assert list(asked["json_schema"]["schema"]["properties"]) == [LABEL, "reason"]
    else:
        assert asked == ({"type": "json_object"} if structured == "json_object" else None)


def test_a_model_that_thinks_first_is_sent_no_temperature(books: Ledger) -> None:
    with Double() as server:
        answers_of(endpoint(server, books, reasoning=True), prompts_of(1))
        (one,) = server.log.seen
    assert {"temperature", "max_tokens"}.isdisjoint(one.body)
    assert one.body["max_completion_tokens"] == 160


# Tokens of a reply with the logarithm of each one's probability, and its alternatives.
Tokens = list[tuple[str, float, dict[str, float]]]


def with_logprobs(tokens: Tokens, as_bytes: bool = True) -> str:
    """The body of a completion that lists its tokens."""

    def entry(token: str, probability: float) -> Json:
        listed = list(token.encode()) if as_bytes else None
        return {"token": token, "bytes": listed, "logprob": math.log(probability)}

    content = [
        entry(token, probability) | {"top_logprobs": [entry(*pair) for pair in others.items()]}
        for token, probability, others in tokens
    ]
    text = "".join(token for token, _, _ in tokens)
    body = completion(text)
    body["choices"][0]["logprobs"] = {"content": content}  # type: ignore[index]
    return json.dumps(body)


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [
        # .6 against .3: 2/3, whatever else could have stood there.
        (
            [('{"', 1.0, {}), (LABEL, 1.0, {}), ('":', 1.0, {}), (" true", 0.6, {" false": 0.3})],
            2 / 3,
        ),
        # The label's name in pieces, the colon and the value in one token, another way to write it.
        (
            [
                ('{"perceived', 1.0, {}),
                ("_error", 1.0, {}),
                ('":false', 0.8, {'":true': 0.1, '": true': 0.1}),
            ],
            0.2,
        ),
        # The value in pieces: its first letter decides.
        (
            [(f'{{"{LABEL}": ', 1.0, {}), ("t", 0.9, {"f": 0.1, "T": 0.0001}), ("rue", 1.0, {})],
            0.9001 / 1.0001,
        ),
        # The other side is not listed: no more than what is left.
        ([(f'{{"{LABEL}":', 1.0, {}), ("true", 0.98, {"true": 0.98})], 0.98),
        # Nor more than the least that is listed: .9 and .01 leave .09, of which false has .01.
        ([(f'{{"{LABEL}":', 1.0, {}), ("true", 0.9, {"true": 0.9, "maybe": 0.01})], 0.9 / 0.91),
    ],
)
@pytest.mark.parametrize("as_bytes", [True, False])
def test_the_probability_is_read_at_the_labels_token(
    tokens: Tokens, expected: float, as_bytes: bool
) -> None:
    whole = [*tokens, (', "reason": "é"}', 1.0, {})]
    read = read_completion(with_logprobs(whole, as_bytes), LABEL)
    assert read.label_probability == pytest.approx(expected)


def test_a_quoted_label_in_the_reason_is_not_the_label() -> None:
    text = f'{{"{LABEL}": false, "reason": "it says \\"{LABEL}\\": true"}}'
    tokens: Tokens = [(f'{{"{LABEL}": ', 1.0, {}), ("false", 0.7, {"true": 0.3})]
    rest: Tokens = [
        (f', "reason": "it says \\"{LABEL}\\": ', 1.0, {}),
        ("true", 1.0, {}),
        ('"}', 1.0, {}),
    ]
    assert read_completion(with_logprobs(tokens + rest), LABEL).label_probability == pytest.approx(
        0.3
    )
    assert label_in(text, LABEL) is False


def test_no_probability_is_made_up() -> None:
    for tokens in ([], [("I cannot say.", 1.0, {})], [(f"{LABEL}: maybe", 1.0, {})]):
        assert read_completion(with_logprobs(tokens), LABEL).label_probability is None


def test_half_a_json_is_told_from_a_whole_one() -> None:
    assert is_whole('{"a": true}')
    assert is_whole('Sure! ```json\n{"a": {"b": "}"}}\n```')
    for text in ("", "yes", '{"a": tr', '{"a": "}', "{" * 100_000):
        assert not is_whole(text)


def test_votes_give_a_share_where_the_server_gives_no_probability(books: Ledger) -> None:
    votes = iter([True, False, True, True, False])
    with Double(
        lambda _: (200, completion(f'{{"{LABEL}": {str(next(votes)).lower()}}}'))
    ) as server:
        model = endpoint(server, books, votes=5, logprobs=False, concurrency=1, **PRICED)
        (answer,) = answers_of(model, prompts_of(1))
        assert {one.body["temperature"] for one in server.log.seen} == {1.0}
    assert answer.label_probability == 3 / 5
    assert label_in(answer.text, LABEL) is True
    # Five replies are paid for.
    assert answer.cost_usd == pytest.approx(5 * COST_USD)
    assert answer.completion_tokens == 100


def test_no_votes_are_cast_where_the_server_gives_a_probability(books: Ledger) -> None:
    tokens: Tokens = [(f'{{"{LABEL}":', 1.0, {}), ("true", 0.8, {"false": 0.2}), ("}", 1.0, {})]
    with Double(lambda _: (200, with_logprobs(tokens))) as server:
        (answer,) = answers_of(endpoint(server, books, votes=5), prompts_of(1))
        assert len(server.log.seen) == 1
    assert answer.label_probability == pytest.approx(0.8)


def test_every_prompt_ends_judged_or_with_its_reason_whatever_breaks(ledger: Ledger) -> None:
    prompts, retries = prompts_of(24), 3
    with Double() as behind, FaultyProxy(behind.url, seed=7) as server:
        assert isinstance(server, FaultyProxy)
        model = endpoint(server, ledger, retries=retries, timeout_s=2.0, **PRICED)
        answers = answers_of(model, prompts)
        expected = [after(server.sequence(p.key, retries + 1)) for p in prompts]
        n_requests = len(server.log.seen)
        by_fault = Counter(one.fault for one in server.log.seen)
    # Every fault happened.
    assert set(by_fault) == set(server.faults)
    for prompt, answer, (ending, n_attempts) in zip(prompts, answers, expected, strict=True):
        if ending == "ok":
            assert (answer.text, answer.failure) == (text_for(prompt), "")
        elif ending == "half":
            assert (is_whole(answer.text), answer.failure) == (False, "")
        else:
            assert answer.failure == ending
            assert answer.why
        assert server.log.requests_by_key()[prompt.key] == n_attempts
    spent = spent_today(ledger, "paid")
    assert spent.calls == n_requests
    assert spent.usd == pytest.approx(sum(answer.cost_usd for answer in answers))
    names = {"ok": [""], "refused": ["refusal"], "unparsed": ["half"]}
    names["failed"] = ["limited", "broken", "cut", "silence"]
    assert spent.by_outcome == {o: sum(by_fault[f] for f in faults) for o, faults in names.items()}


def after(faults: list[str]) -> tuple[str, int]:
    """How a prompt ends that meets these faults, and after how many requests."""
    n_half = 0
    for number, fault in enumerate(faults, 1):
        n_half += fault == "half"
        if fault in ("", "refusal") or n_half == 2:
            return {"": "ok", "refusal": "refused", "half": "half"}[fault], number
    return ("half" if faults[-1] == "half" else "failed"), len(faults)


def test_what_a_server_may_have_done_is_charged_at_its_most(books: Ledger) -> None:
    """A 429 and a 500 cost nothing; who cuts the line or falls silent may have written a reply."""
    for fault, is_charged in (("limited", False), ("broken", False), ("cut", True)):
        with FaultyProxy("", seed=1, faults=[fault]) as server:
            model = endpoint(server, books, retries=0, **PRICED)
            (answer,) = answers_of(model, prompts_of(1))
        # A token a byte and 16 a message, and a reply of 160 tokens.
        most = (len("Judge." + "conversation 0") + 3 * 16) * 1e-6 + 160 * 4e-6
        assert answer.failure == "failed"
        assert answer.cost_usd == (pytest.approx(most) if is_charged else 0.0)


def test_a_server_that_is_not_there_is_charged_nothing(books: Ledger) -> None:
    with Double() as gone:
        pass
    (answer,) = answers_of(endpoint(gone, books, retries=1, **PRICED), prompts_of(1))
    assert (answer.failure, answer.cost_usd) == ("failed", 0.0)
    assert answer.why == "the connection failed: ConnectError"
    assert spent_today(books, "paid").by_outcome == {"failed": 2}


def test_a_server_is_left_alone_for_as_long_as_it_asks(books: Ledger) -> None:
    with FaultyProxy("", seed=1, faults=["limited"]) as server:
        model = endpoint(server, books, retries=2, concurrency=4)
        answers = answers_of(model, prompts_of(4))
        times: dict[str, list[float]] = {}
        for one in server.log.seen:
            times.setdefault(one.key, []).append(one.at)
    assert [len(at) for at in times.values()] == [3] * 4
    for at in times.values():
        assert all(b - a >= RETRY_AFTER_S for a, b in pairwise(at))
    assert {answer.why for answer in answers} == {"the server answered 429: “Too many requests.”"}


def test_prompts_that_were_not_limited_wait_as_well(books: Ledger) -> None:
    with FaultyProxy("", seed=1, faults=["limited"]) as server:
        answers_of(endpoint(server, books, retries=0, concurrency=1), prompts_of(3))
        times = [one.at for one in server.log.seen]
    assert len(times) == 3
    assert all(b - a >= RETRY_AFTER_S for a, b in pairwise(times))


def test_a_pause_is_read_in_each_of_its_forms() -> None:
    at = datetime(2026, 3, 2, 12, tzinfo=UTC)
    date = format_datetime(at + timedelta(seconds=90), usegmt=True)
    assert pause_of({"retry-after": "7"}, at) == 7.0
    assert pause_of({"retry-after": "7", "retry-after-ms": "250"}, at) == 0.25
    assert pause_of({"retry-after": date}, at) == 90.0
    # The server's clock is a minute ahead.
    sent = format_datetime(at + timedelta(seconds=60), usegmt=True)
    assert pause_of({"retry-after": date, "date": sent}, at) == 30.0
    for nothing in ({}, {"retry-after": "soon"}, {"retry-after": "-5"}, {"retry-after": "nan"}):
        assert pause_of(nothing, at) == 0.0


def test_a_server_that_asks_for_an_hour_is_not_asked_again(books: Ledger) -> None:
    with Double(
        lambda _: (429, {"error": {"message": "Come back."}}), headers={"Retry_After": "3600"}
    ) as server:
        answers = answers_of(endpoint(server, books, concurrency=1), prompts_of(5))
        assert len(server.log.seen) == 1
    assert {answer.failure for answer in answers} == {"failed"}
    assert "it asks to wait for 3600 s" in answers[-1].why


@pytest.mark.parametrize(
    ("status", "message", "expected"),
    [
        (
            400,
            "Invalid parameter: 'response_format' of type 'json_schema'",
            'structured = "json_object"',
        ),
        (422, "Unexpected fields: {'top_logprobs', 'logprobs'}", "set logprobs = false"),
        (
            400,
            "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens'.",
            "set reasoning = true",
        ),
        (400, "There is none", "the server answered 400: “There is none”"),
        (404, "The model `doubel` does not exist", "404: “The model `doubel` does not exist”"),
    ],
)
def test_what_a_server_rejects_is_said_at_once_with_what_to_change(
    books: Ledger, status: int, message: str, expected: str
) -> None:
    with Double(lambda _: (status, {"error": {"message": message}})) as server:
        (answer,) = answers_of(endpoint(server, books), prompts_of(1))
        assert len(server.log.seen) == 1
    assert (answer.failure, answer.cost_usd) == ("failed", 0.0)
    assert expected in answer.why


def test_a_prompt_that_the_server_finds_too_long_is_counted_as_such(books: Ledger) -> None:
    error = {
        "message": "This model's maximum context length is 10.",
        "code": "context_length_exceeded",
    }
    with Double(lambda _: (400, {"error": error})) as server:
        (answer,) = answers_of(endpoint(server, books), prompts_of(1))
    assert answer.failure == "too_long"


def test_a_prompt_longer_than_the_context_is_not_sent(books: Ledger) -> None:
    with Double() as server:
        model = endpoint(server, books, context_tokens=512)
        long, short = answers_of(model, [prompt_of("wrong " * 400), prompt_of("short")])
        assert len(server.log.seen) == 1
    assert (long.failure, short.failure) == ("too_long", "")
    assert "context_tokens is 512" in long.why


@pytest.mark.parametrize(
    "body",
    [
        completion("", refusal="I cannot help with that."),
        completion("", finish_reason="content_filter"),
    ],
)
def test_a_refusal_is_counted_and_not_asked_again(books: Ledger, body: Json) -> None:
    with Double(lambda _: (200, body)) as server:
        (answer,) = answers_of(endpoint(server, books, **PRICED), prompts_of(1))
        assert len(server.log.seen) == 1
    assert answer.failure == "refused"
    assert answer.cost_usd == pytest.approx(COST_USD)
    assert spent_today(books, "paid").by_outcome == {"refused": 1}


def test_a_reply_that_was_cut_for_its_length_is_not_asked_again(books: Ledger) -> None:
    half = completion('{"perceived_error": true, "rea', finish_reason="length")
    with Double(lambda _: (200, half)) as server:
        (answer,) = answers_of(endpoint(server, books), prompts_of(1))
        assert len(server.log.seen) == 1
    assert (answer.text, answer.failure) == ('{"perceived_error": true, "rea', "")
    assert spent_today(books, "paid").by_outcome == {"unparsed": 1}


@pytest.mark.parametrize(
    "body", ["", "<html>", "{}", '{"choices": []}', '{"choices": [{"message": 3}]}']
)
def test_a_reply_that_is_none_is_an_attempt_that_failed(books: Ledger, body: str) -> None:
    with Double(lambda _: (200, body)) as server:
        (answer,) = answers_of(endpoint(server, books, retries=0), prompts_of(1))
    assert answer.failure == "failed"
    assert "chat completion" in answer.why


def test_no_more_is_sent_with_a_key_that_the_server_does_not_take(
    books: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = "sk-very-secret-0123456789"
    monkeypatch.setenv("JUDGE_KEY", key)
    wrong = {"error": {"message": f"Incorrect API key provided: {key}."}}
    with Double(lambda _: (401, wrong)) as server:
        model = endpoint(server, books, api_key_env="JUDGE_KEY", concurrency=1)
        answers = answers_of(model, prompts_of(5))
        (one,) = server.log.seen
    assert one.headers["authorization"] == f"Bearer {key}"
    assert {answer.failure for answer in answers} == {"failed"}
    with books.read() as connection:
        whys = list(connection.scalars(sa.select(judge_calls.c.why)))
    assert whys == ["the server answered 401: “Incorrect API key provided: ….”"]
    assert key not in repr(answers) + repr(whys) + model.version + repr(model)


def test_a_server_of_ones_own_is_sent_a_placeholder_and_a_vendor_needs_a_key(
    books: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("JUDGE_KEY", raising=False)
    with Double() as server:
        answers_of(endpoint(server, books, api_key_env="JUDGE_KEY"), prompts_of(1))
        assert server.log.seen[0].headers["authorization"] == "Bearer none"
    settings = GenerativeSettings(model="some", api_key_env="JUDGE_KEY")
    with pytest.raises(BadSetting, match="'JUDGE_KEY' holds no key"):
        Endpoint("paid", settings, books)
    with pytest.raises(BadSetting, match="model is empty"):
        Endpoint("paid", GenerativeSettings(base_url="http://127.0.0.1:1/v1"), books)


def test_without_its_client_it_says_what_to_install(
    books: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flywheel.models.endpoint.find_spec", lambda name: None)
    settings = GenerativeSettings(model="some", base_url="http://127.0.0.1:1/v1")
    with pytest.raises(BadSetting, match=r"pip install 'flywheel-loop\[endpoint\]'"):
        Endpoint("paid", settings, books)


def test_requests_at_once_are_never_more_than_allowed(books: Ledger) -> None:
    with Double(delay_s=0.05) as server:
        answers_of(endpoint(server, books, concurrency=3), prompts_of(24))
        assert server.log.most_at_once == 3


def test_no_more_is_sent_than_is_taken(books: Ledger) -> None:
    """What is answered and not taken would be lost by a kill: it is as many as `concurrency`."""
    with Double() as server:
        answers = endpoint(server, books, concurrency=4).answers(prompts_of(40))
        taken = len(list(islice(answers, 10)))
        # The tenth is still on the desk of who asked.
        assert len(server.log.seen) <= taken - 1 + 4
        answers.close()
        assert len(server.log.seen) <= taken - 1 + 4


def test_who_stops_asking_stops_what_is_under_way(books: Ledger) -> None:
    with FaultyProxy("", seed=1, faults=["silence"]) as server:
        model = endpoint(server, books, timeout_s=60.0, retries=20)
        answers = model.answers([*prompts_of(3), prompt_of("too long " * 9000)])
        assert next(answers)[0] == 3
        answers.close()
    assert spent_today(books, "paid").by_outcome.keys() <= {"running"}


def test_the_days_budget_is_spent_and_then_no_more_is_sent(ledger: Ledger) -> None:
    # Each may cost (20 + 3 * 16) * 1 + 160 * 4 = 708 millionths, or one more with a longer number.
    prompts = [prompt_of("conversation ?") for _ in range(30)]
    most, daily_usd = 708e-6, 0.0025
    # The last that may begin leaves room for its most: n * 180 + 708 <= 2500 holds to n = 9.
    n_paid = math.floor((daily_usd - most) / COST_USD + 1e-9) + 1
    assert n_paid == 10
    with Double() as server:
        model = endpoint(server, ledger, daily_usd=daily_usd, concurrency=4, **PRICED)
        answers = answers_of(model, prompts)
        assert len(server.log.seen) == n_paid
        assert Counter(answer.failure for answer in answers) == {"": n_paid, "budget": 30 - n_paid}
        (why,) = {answer.why for answer in answers if answer.failure}
        assert why == "daily_usd = 0.0025 is spent; it goes on the next UTC day"
        assert spent_today(ledger, "paid").usd == pytest.approx(n_paid * COST_USD)
        # The next day it goes on.
        later = Endpoint(
            "paid", model.settings, ledger, lambda: datetime.now(UTC) + timedelta(days=1)
        )
        assert {answer.failure for answer in answers_of(later, prompts[:5])} == {""}


def test_a_prompt_dearer_than_a_days_budget_is_not_sent(books: Ledger) -> None:
    with Double() as server:
        model = endpoint(server, books, daily_usd=0.00075, concurrency=1, **PRICED)
        # 200 bytes more than the other, which may cost 0.00071.
        dear, cheap = answers_of(model, [prompt_of("?" * 214), prompt_of("conversation ?")])
        assert len(server.log.seen) == 1
    assert (dear.failure, cheap.failure) == ("budget", "")
    assert dear.why == "it may cost 0.00091 USD, and daily_usd is 0.00075"


def test_a_version_names_what_is_asked_and_not_how_often_or_at_what_price(books: Ledger) -> None:
    with Double() as server:
        first = endpoint(server, books).version
        assert first == endpoint(server, books, concurrency=1, daily_usd=9.0, **PRICED).version
        assert first != endpoint(server, books, structured="none").version
        assert first != endpoint(server, books, model="other").version
    assert len(endpoint(server, books, model="m" * 300).version) <= 80
