"""An OpenAI-compatible server as a chat model: vLLM, Ollama, or any vendor.

Prompts in, answers out as they come, each request counted by `spending` before it is sent. The one
idea is that nothing that happens to a request is an exception for who asked: a prompt ends with a
reply, or with the reason why there is none.
"""

import asyncio
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from flywheel.errors import BadSetting
from flywheel.models.asking import Asking
from flywheel.models.attempts import Attempt, from_body, from_connection, from_status
from flywheel.models.chat import Answer, Prompt
from flywheel.models.spending import Budget
from flywheel.settings import GenerativeSettings
from flywheel.store.ledger import Ledger, now

if TYPE_CHECKING:
    import openai

OPENAI_URL = "https://api.openai.com/v1"
# What a local server is sent, which asks for no key: the client sends none at all otherwise.
NO_KEY = "none"
# Alternatives at a token; `true` and `false` are among the first, and no vendor gives fewer.
TOP_LOGPROBS = 5
# A server that sends a byte now and then is never silent: a request ends after so many timeouts.
_LONGEST_TIMEOUTS = 10


class Endpoint:
    """A chat model behind an OpenAI-compatible server, as `[judges.NAME]` describes it.

    Raises BadSetting where the model or its key is not named, or the `openai` client is missing.
    """

    def __init__(
        self,
        name: str,
        settings: GenerativeSettings,
        ledger: Ledger,
        clock: Callable[[], datetime] = now,
    ):
        if not settings.model:
            raise BadSetting(f"judges.{name}.model is empty; write what the server calls its model")
        self.name = name
        self.settings = settings
        self.version = _version(settings)
        self._key = key_of(name, settings)
        check_client(name)
        self._budget = Budget(ledger, name, self.version, settings, clock)

    def answers(self, prompts: Sequence[Prompt]) -> Iterator[tuple[int, Answer]]:
        """The index of a prompt and its answer, each as soon as it is there, in any order.

        At most `concurrency` prompts are under way or not yet taken by who asked. Who stops asking
        stops the requests that are under way. Not to be called in a transaction of the ledger:
        calls are counted in another thread, which would wait for its end.
        """
        client = self.client(self.settings.timeout_s)
        send = partial(self.attempt, client)
        asking = Asking(client, send, self.settings, self._budget, prompts)
        with ThreadPoolExecutor(1, thread_name_prefix=f"judge-{self.name}") as thread:
            ended = thread.submit(asking.run)
            try:
                while (done := asking.done.get()) is not None:
                    yield done
                    asking.take_another()
            finally:
                asking.stop()
            ended.result()

    def client(self, timeout_s: float) -> "openai.AsyncOpenAI":
        """A client of the server that gives up after `timeout_s` of silence, and tries once."""
        import openai

        return openai.AsyncOpenAI(
            api_key=self._key,
            base_url=self.settings.base_url or OPENAI_URL,
            timeout=openai.Timeout(timeout_s, pool=None),
            max_retries=0,
        )

    def request(self, prompt: Prompt, temperature: float) -> dict[str, Any]:
        """The body of a request."""
        settings, schema = self.settings, prompt.shape.json_schema()
        body: dict[str, Any] = {
            "model": settings.model,
            "messages": [{"role": m.role, "content": m.content} for m in prompt.messages],
        }
        if settings.reasoning:
            body["max_completion_tokens"] = settings.max_reply_tokens
        else:
            body |= {"max_tokens": settings.max_reply_tokens, "temperature": temperature}
        if settings.structured == "json_schema":
            # Some vendors reject a bound on the length of a string; a long reason is cut later.
            schema.get("properties", {}).get("reason", {}).pop("maxLength", None)
            named = {"name": "reply", "strict": True, "schema": schema}
            body["response_format"] = {"type": "json_schema", "json_schema": named}
        elif settings.structured == "json_object":
            body["response_format"] = {"type": "json_object"}
        if settings.logprobs:
            body |= {"logprobs": True, "top_logprobs": TOP_LOGPROBS}
        return body

    async def attempt(
        self, client: "openai.AsyncOpenAI", prompt: Prompt, temperature: float
    ) -> Attempt:
        """One request; whatever comes of it."""
        import openai

        timeout_s = self.settings.timeout_s
        try:
            async with asyncio.timeout(_LONGEST_TIMEOUTS * timeout_s):
                reply = await client.chat.completions.with_raw_response.create(
                    **self.request(prompt, temperature)
                )
                return from_body(reply.http_response.text, prompt.shape.label)
        except TimeoutError:
            return Attempt("failed", failure="failed", why="the reply did not end", may_pass=True)
        except openai.APIConnectionError as error:
            return from_connection(error, timeout_s)
        except openai.APIStatusError as error:
            return from_status(error, None if self._key == NO_KEY else self._key)


def _version(settings: GenerativeSettings) -> str:
    """Names the model, whose it is, and how it is asked: what else changes no reply is left out."""
    asked = settings.model_dump(
        include={"model", "base_url", "structured", "logprobs", "reasoning", "votes"}
        | {"max_reply_tokens"}
    )
    digest = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()
    return f"endpoint-{settings.model[-50:]}-{digest[:12]}"


def key_of(name: str, settings: GenerativeSettings) -> str:
    """The key of the server; a server of one's own may need none.

    Raises BadSetting where it is OpenAI's own, and there is no key.
    """
    key = os.environ.get(settings.api_key_env, "") if settings.api_key_env else ""
    if not key and not settings.base_url:
        raise BadSetting(
            f"judges.{name}: the environment variable {settings.api_key_env!r} holds no key; "
            "set it, or set base_url to a server that needs none"
        )
    return key or NO_KEY


def check_client(name: str) -> None:
    """Raise BadSetting where the `openai` package is missing; it is not imported for that."""
    if find_spec("openai") is None:
        raise BadSetting(
            f"judges.{name} needs the openai client: pip install 'flywheel-loop[endpoint]'"
        )
