"""Prompts put to a server, several at once: what is sent when, tried again, voted on and paid for.

Prompts and a way to send one in, answers out in the order in which they come. The one idea is that
only so many prompts are under way as answers can be lost by a kill: the next is sent when who asked
has taken an answer, and stored it.
"""

import asyncio
import queue
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass
from threading import Event

from flywheel.models.attempts import Attempt, wait_s
from flywheel.models.chat import Answer, Prompt
from flywheel.models.completions import label_in
from flywheel.models.spending import (
    Budget,
    Call,
    Reserve,
    Settle,
    likely_prompt_tokens,
    most_prompt_tokens,
)
from flywheel.settings import GenerativeSettings

# Sends a prompt once, at a temperature.
Send = Callable[[Prompt, float], Awaitable[Attempt]]


@dataclass(slots=True)
class _Tally:
    """What all requests for one prompt came to."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: float = 0.0
    latency_ms: float = 0.0

    def add(self, end: Settle) -> None:
        self.prompt_tokens += end.prompt_tokens
        self.completion_tokens += end.completion_tokens
        self.cost_usd += end.cost_usd
        self.latency_ms += end.latency_ms

    def answer(self, last: Attempt, probability: float | None = None) -> Answer:
        """The answer that the last of them gives."""
        return Answer(
            last.text,
            last.label_probability if probability is None else probability,
            self.prompt_tokens,
            self.completion_tokens,
            self.cost_usd,
            self.latency_ms,
            last.failure,
            last.why if last.failure else "",
        )


class Asking:
    """One call of `answers`: an event loop in a thread of its own, that lives as long as it."""

    def __init__(
        self,
        client: AbstractAsyncContextManager[object],
        send: Send,
        settings: GenerativeSettings,
        budget: Budget,
        prompts: Sequence[Prompt],
    ):
        # Ends with None.
        self.done: queue.SimpleQueue[tuple[int, Answer] | None] = queue.SimpleQueue()
        self._client = client
        self._send = send
        self._settings = settings
        self._books = _Books(budget)
        self._prompts = prompts
        self._has_begun = Event()
        self._task: asyncio.Task[None] | None = None
        # Why no more is sent: what would be the same for every other prompt.
        self._closed: Attempt | None = None
        # On the loop's clock: when the server may be asked again.
        self._quiet_until = 0.0

    def run(self) -> None:
        """Answer all prompts."""
        try:
            asyncio.run(self._answer_all())
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from group
        finally:
            self._has_begun.set()
            self.done.put(None)

    def take_another(self) -> None:
        """One answer has been taken, and another prompt may be sent."""
        self._call(self._slots.release)

    def stop(self) -> None:
        """Give up what is under way; nothing happens where all is answered."""
        self._has_begun.wait()
        if self._task is not None:
            self._call(self._task.cancel)

    def _call(self, what: Callable[[], object]) -> None:
        # The loop ends as soon as the last answer is there.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(what)

    async def _answer_all(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._slots = asyncio.Semaphore(self._settings.concurrency)
        self._task = asyncio.current_task()
        self._has_begun.set()
        async with self._client, asyncio.TaskGroup() as group:
            for index, prompt in enumerate(self._prompts):
                await self._slots.acquire()
                group.create_task(self._hand_over(index, prompt))

    async def _hand_over(self, index: int, prompt: Prompt) -> None:
        self.done.put((index, await self._answer(prompt)))

    async def _answer(self, prompt: Prompt) -> Answer:
        settings, tally = self._settings, _Tally()
        likely = likely_prompt_tokens(prompt) + settings.max_reply_tokens
        if likely > settings.context_tokens:
            why = (
                f"about {likely} tokens with the reply; context_tokens is {settings.context_tokens}"
            )
            return Answer("", failure="too_long", why=why)
        if settings.votes == 1 or settings.logprobs:
            first = await self._reply(prompt, tally, temperature=0.0)
            if settings.votes == 1 or first.failure or first.label_probability is not None:
                return tally.answer(first)
        return await self._vote(prompt, tally)

    async def _vote(self, prompt: Prompt, tally: _Tally) -> Answer:
        """Several replies at temperature 1: the share of `true`, and the text of one of the most.

        What breaks off the votes is the answer, unless most of them are in.
        """
        label, votes = prompt.shape.label, self._settings.votes
        texts: dict[bool, list[Attempt]] = {True: [], False: []}
        for _ in range(votes):
            last = await self._reply(prompt, tally, temperature=1.0)
            if last.failure:
                break
            said = label_in(last.text, label)
            if said is not None:
                texts[said].append(last)
        n_true, n_read = len(texts[True]), len(texts[True]) + len(texts[False])
        if 2 * n_read <= votes:
            return tally.answer(last)
        return tally.answer(texts[2 * n_true > n_read][0], n_true / n_read)

    async def _reply(self, prompt: Prompt, tally: _Tally, temperature: float) -> Attempt:
        """The first attempt that gives a reply or would never give one, or else the last."""
        n_torn = 0
        for number in range(self._settings.retries + 1):
            attempt = await self._attempt(prompt, tally, temperature)
            n_torn += attempt.outcome == "unparsed"
            # All leave the server alone, those too whose prompt is another.
            self._quiet_until = max(self._quiet_until, self._loop.time() + attempt.pause_s)
            is_last = number == self._settings.retries
            if not attempt.may_pass or is_last or n_torn > 1:
                break
            await asyncio.sleep(wait_s(number, attempt.pause_s))
        if attempt.is_same_for_all:
            self._closed = attempt
        return attempt

    async def _attempt(self, prompt: Prompt, tally: _Tally, temperature: float) -> Attempt:
        while (quiet_s := self._quiet_until - self._loop.time()) > 0:
            await asyncio.sleep(quiet_s)
        if self._closed is not None:
            return self._closed
        settings, prices = self._settings, self._books.prices
        most_usd = prices.cost_usd(most_prompt_tokens(prompt), settings.max_reply_tokens)
        call = await self._books.reserve(Reserve(prompt.key, most_usd))
        if call is None:
            why = f"daily_usd = {settings.daily_usd:g} is spent; it goes on the next UTC day"
            if most_usd > settings.daily_usd:
                why = f"it may cost {most_usd:.2g} USD, and daily_usd is {settings.daily_usd:g}"
            return Attempt("failed", failure="budget", why=why)
        began = time.perf_counter()
        attempt = await self._send(prompt, temperature)
        latency_ms = (time.perf_counter() - began) * 1000
        usage = attempt.usage or (0, 0)
        cost_usd = most_usd if attempt.usage is None else prices.cost_usd(*usage)
        end = Settle(call, attempt.outcome, cost_usd, *usage, latency_ms, attempt.why)
        await self._books.settle(end)
        tally.add(end)
        return attempt


class _Books:
    """The budget's rows: those of all requests that wait are committed in one transaction."""

    def __init__(self, budget: Budget):
        self.prices = budget.prices
        self._budget = budget
        self._waiting: list[tuple[Reserve | Settle, asyncio.Future[Call | None]]] = []
        self._turn = asyncio.Lock()
        self._n_running = 0
        self._one_ended = asyncio.Event()

    async def reserve(self, wish: Reserve) -> Call | None:
        """The call, once the budget has room for it; None where it will not have today.

        A call that runs may turn out cheaper than its most, so those of this work are waited for.
        """
        while True:
            one_ended = self._one_ended
            call = await self._commit(wish)
            if call is not None or not (self._n_running or one_ended.is_set()):
                return call
            await one_ended.wait()

    async def settle(self, end: Settle) -> None:
        """Write how a call ended."""
        await self._commit(end)

    async def _commit(self, change: Reserve | Settle) -> Call | None:
        written: asyncio.Future[Call | None] = asyncio.get_running_loop().create_future()
        self._waiting.append((change, written))
        async with self._turn:
            # Whoever had the turn before has written this one too, as a rule.
            if not written.done():
                await self._write()
        return written.result()

    async def _write(self) -> None:
        waiting, self._waiting = self._waiting, []
        changes = [change for change, _ in waiting]
        calls = await asyncio.to_thread(self._budget.record, changes)
        n_ended = sum(isinstance(change, Settle) for change in changes)
        self._n_running += sum(call is not None for call in calls) - n_ended
        if n_ended:
            self._one_ended.set()
            self._one_ended = asyncio.Event()
        for (_, written), call in zip(waiting, calls, strict=True):
            written.set_result(call)
