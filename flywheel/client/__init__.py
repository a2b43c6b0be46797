"""For the application in production: traces and feedback out, corrections in, never an error.

    client = Client("https://flywheel.example.com", api_key="fw_...", app="shop")
    shots = client.few_shots("Book me a table for four")
    trace_id = client.log_trace([{"role": "user", ...}, {"role": "assistant", ...}])
    client.feedback(trace_id, thumbs="down", comment="Wrong day")

The one idea is that nothing here may harm the application: no call raises, none takes longer than
its timeout, and what is kept in memory and on disk is bounded. It imports the standard library
alone, so that `pip install --no-deps flywheel-loop` is enough.
"""

import asyncio
import hashlib
import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Unpack
from urllib.parse import quote

from flywheel.client.arms import Arms
from flywheel.client.fields import FeedbackFields, Options, Thumbs, TraceFields
from flywheel.client.results import Arm, FewShots, few_shots_of
from flywheel.client.sender import ClientStats, Limits, Sender
from flywheel.client.shield import Shield
from flywheel.client.spill import Spill
from flywheel.client.wire import Answer, Wire
from flywheel.client.writing import UNWRITABLE, line_of, now_in_words

__all__ = ["Arm", "AsyncClient", "Client", "ClientStats", "FewShots", "Limits"]

# What a failure of each call means for the application.
_NOTHING = {"few_shots": "no examples", "arm": "no arm but one that is known"}


class Client:
    """Sends what an application sees, and fetches what people corrected.

    `spill_dir` is a folder for what the server cannot take now: it survives the process, several
    processes may share it, and `spill_mb` and `spill_days` bound it. Without one, only memory holds
    it. Make one client a process, and use it from any thread.
    """

    def __init__(
        self,
        url: str,
        api_key: str,
        app: str = "",
        *,
        timeout_s: float = 1.0,
        spill_dir: str | Path | None = None,
        spill_mb: float = 100.0,
        spill_days: float = 7.0,
        limits: Limits | None = None,
    ):
        """Raises ValueError where `url` is no address, as a mistake in the call itself is.

        `timeout_s` is the longest that `few_shots` and `arm` take.
        """
        self.app = app
        self._timeout_s = timeout_s
        self._wire = Wire(url, api_key)
        spill, obstacle = _spill(spill_dir, f"{url} {app}", spill_mb, spill_days)
        self._sender = Sender(Wire(url, api_key), spill, limits or Limits())
        self._shield, self._arms = Shield(), Arms()
        if obstacle:
            self._sender.warn("disk", obstacle)
        if spill is not None and spill.files():
            # Of an earlier process.
            self._sender.start()

    def few_shots(
        self, query: str, k: int = 4, *, timeout_s: float | None = None, **more: object
    ) -> FewShots:
        """At most `k` corrections that are most like the request `query`, ready for a prompt.

        `more` goes to the server as it is, such as `session_id`, `user_id` or `trace_id`; `node`
        and `parent` name the step that asks and what called it, such as "llm:planner" and
        "agent:desk". Nothing within the timeout is an empty answer that says why.
        """
        timeout_s = self._timeout_s if timeout_s is None else timeout_s
        body, why = self._question({**more, "text": query, "k": k})
        if body is None:
            return FewShots(why=why)
        return few_shots_of(self._ask("/v1/few-shots", body, timeout_s, "few_shots"))

    def arm(
        self,
        experiment: str,
        *,
        session_id: str | None = None,
        user_id: str | None = None,
        fallback: Arm | str = "",
        timeout_s: float | None = None,
    ) -> Arm:
        """The arm of an experiment that this session, or this user, is given.

        Where the server cannot be asked within the timeout it is the arm that the session was given
        before, else the experiment's first arm, else `fallback`; then `why` says what was wrong.
        """
        timeout_s = self._timeout_s if timeout_s is None else timeout_s
        path, body, whom, other, why = self._arm_asked(experiment, session_id, user_id, fallback)
        if body is None:
            return self._arms.without(experiment, whom, why, other)
        answer = self._ask(path, body, timeout_s, "arm")
        return self._arms.learnt(experiment, whom, answer, other)

    def log_trace(
        self,
        messages: Sequence[object],
        *,
        trace_id: str | None = None,
        session_id: str | None = None,
        user_id: str | None = None,
        started_at: datetime | None = None,
        ended_at: datetime | None = None,
        metadata: Mapping[str, object] | None = None,
        **more: object,
    ) -> str:
        """Keep a conversation, in OpenAI's shape, to be sent; its id, for feedback on it.

        It returns at once. `more` are other keys of a trace, such as `model_name`, `release`,
        `status`, `cost_usd`, `prompt_tokens`, `completion_tokens` and `latency_ms`. The same id
        again is a newer version of the same trace.
        """
        trace_id = trace_id or uuid.uuid4().hex
        said = {
            **more,
            "trace_id": trace_id,
            "app": self.app or None,
            "session_id": session_id,
            "user_id": user_id,
            "started_at": started_at or now_in_words(),
            "ended_at": ended_at,
            "metadata": metadata,
            "messages": messages,
        }
        self._put("traces", said)
        return trace_id

    def feedback(
        self,
        trace_id: str,
        *,
        thumbs: Thumbs | None = None,
        value: float | None = None,
        name: str = "user_feedback",
        label: str | None = None,
        comment: str | None = None,
        correction: str | None = None,
        span_id: str | None = None,
        user_id: str | None = None,
    ) -> bool:
        """Keep what an end user says of a trace, to be sent; whether there was room for it.

        `thumbs` is short for a `value` of 1 or 0. The trace may arrive later than this.
        """
        if thumbs is not None:
            value = 1.0 if thumbs == "up" else 0.0
        return self._put(
            "feedback",
            {
                "trace_id": trace_id,
                "span_id": span_id,
                "app": self.app or None,
                "name": name,
                "value": value,
                "label": label,
                "comment": comment,
                "correction": correction,
                "user_id": user_id,
                "given_at": now_in_words(),
                "idempotency_key": uuid.uuid4().hex,
            },
        )

    @property
    def dropped(self) -> int:
        """Events of this client that are lost; `stats()` says why."""
        return sum(self.stats().dropped.values())

    def stats(self) -> ClientStats:
        """What became of this client's events."""
        return self._sender.stats()

    def flush(self, timeout_s: float = 5.0) -> bool:
        """Send, or spill, what waits in memory; whether that was done in time."""
        return self._sender.flush(timeout_s)

    def close(self, timeout_s: float | None = None) -> None:
        """Send what there is time for and spill the rest; done by itself where the process ends."""
        self._sender.close(self._sender.exit_s if timeout_s is None else timeout_s)
        self._wire.close()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _put(self, kind: str, said: Mapping[str, object]) -> bool:
        given = {key: value for key, value in said.items() if value is not None}
        try:
            return self._sender.put(kind, line_of(given))
        except UNWRITABLE as error:
            return self._sender.drop("unwritable", f"no JSON can be made of it: {error!r}")

    def _ask(self, path: str, body: bytes, timeout_s: float, what: str) -> Answer:
        """What the server answers in time, after the shield has seen it."""
        asked = self._wire.asking(path, "application/json", body, timeout_s)
        try:
            answer = asked.result(timeout_s)
        except TimeoutError:
            asked.cancel()
            answer = Answer(0, why=f"no answer within {timeout_s:g} s")
        return self._learnt(answer, what)

    def _arm_asked(
        self, experiment: str, session_id: str | None, user_id: str | None, fallback: Arm | str
    ) -> tuple[str, bytes | None, Mapping[str, object], Arm, str]:
        """Path and body of a request for an arm, for whom, and what else there is to give."""
        whom = {"session_id": session_id, "user_id": user_id}
        body, why = self._question(whom)
        path = f"/v1/experiments/{quote(str(experiment), safe='', errors='replace')}/arm"
        return path, body, whom, fallback if isinstance(fallback, Arm) else Arm(fallback), why

    def _question(self, asked: Mapping[str, object]) -> tuple[bytes | None, str]:
        """The body of a request; or None, and why there is nothing to ask."""
        if rest := self._shield.why_not():
            return None, rest
        said = {**asked, "app": self.app}
        try:
            return line_of({key: value for key, value in said.items() if value is not None}), ""
        except UNWRITABLE as error:
            return None, f"no JSON can be made of it: {error!r}"

    def _learnt(self, answer: Answer, what: str) -> Answer:
        """The same, after the shield has seen it."""
        # An experiment that nobody began is no failure of the server.
        is_unknown = what == "arm" and answer.status == 404
        if not is_unknown and self._shield.is_hit(answer):
            self._sender.warn(what, f"{_NOTHING[what]}: {answer.why}")
        return answer


class AsyncClient:
    """The same for asyncio: `few_shots` and `arm` wait without the event loop being held."""

    def __init__(self, url: str, api_key: str, app: str = "", **options: Unpack[Options]):
        """As `Client` is made."""
        self._client = Client(url, api_key, app, **options)

    async def few_shots(
        self, query: str, k: int = 4, *, timeout_s: float | None = None, **more: object
    ) -> FewShots:
        """As `Client.few_shots`."""
        client = self._client
        timeout_s = client._timeout_s if timeout_s is None else timeout_s
        body, why = client._question({**more, "text": query, "k": k})
        if body is None:
            return FewShots(why=why)
        return few_shots_of(await self._ask("/v1/few-shots", body, timeout_s, "few_shots"))

    async def arm(
        self,
        experiment: str,
        *,
        session_id: str | None = None,
        user_id: str | None = None,
        fallback: Arm | str = "",
        timeout_s: float | None = None,
    ) -> Arm:
        """As `Client.arm`."""
        client = self._client
        timeout_s = client._timeout_s if timeout_s is None else timeout_s
        path, body, whom, other, why = client._arm_asked(experiment, session_id, user_id, fallback)
        if body is None:
            return client._arms.without(experiment, whom, why, other)
        answer = await self._ask(path, body, timeout_s, "arm")
        return client._arms.learnt(experiment, whom, answer, other)

    async def _ask(self, path: str, body: bytes, timeout_s: float, what: str) -> Answer:
        asked = self._client._wire.asking(path, "application/json", body, timeout_s)
        try:
            answer = await asyncio.wait_for(asyncio.wrap_future(asked), timeout_s)
        except TimeoutError:
            answer = Answer(0, why=f"no answer within {timeout_s:g} s")
        return self._client._learnt(answer, what)

    async def log_trace(self, messages: Sequence[object], **fields: Unpack[TraceFields]) -> str:
        """As `Client.log_trace`; it waits for nothing."""
        return self._client.log_trace(messages, **fields)

    async def feedback(self, trace_id: str, **fields: Unpack[FeedbackFields]) -> bool:
        """As `Client.feedback`; it waits for nothing."""
        return self._client.feedback(trace_id, **fields)

    @property
    def dropped(self) -> int:
        """As `Client.dropped`."""
        return self._client.dropped

    def stats(self) -> ClientStats:
        """As `Client.stats`."""
        return self._client.stats()

    async def flush(self, timeout_s: float = 5.0) -> bool:
        """As `Client.flush`."""
        return await asyncio.to_thread(self._client.flush, timeout_s)

    async def close(self, timeout_s: float | None = None) -> None:
        """As `Client.close`."""
        await asyncio.to_thread(self._client.close, timeout_s)

    async def __aenter__(self) -> "AsyncClient":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


def _spill(
    folder: str | Path | None, server: str, megabytes: float, days: float
) -> tuple[Spill | None, str]:
    """The folder of this server and application in `folder`; or None, and what is in the way."""
    if folder is None:
        return None, ""
    own = Path(folder) / hashlib.sha256(server.encode("utf-8", "replace")).hexdigest()[:16]
    try:
        return Spill(own, int(megabytes * 1e6), days * 86_400), ""
    except OSError as error:
        return None, f"nothing can be kept in {folder}: {error}"
