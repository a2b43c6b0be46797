"""Redaction: spans a second through the rules, and texts a second through Presidio.

    nice -n 10 python -m tests.bench.bench_redaction [N]

Prints one JSON line. N spans (10,000 unless given) of about 1.2 kB, 200 a request, 4 to a trace, of
which every tenth holds an address and a number; one thread, CPU seconds. Rules stand before the
inbox commits (budget there: 3,000 spans per server CPU-second for everything); Presidio stands in
the drain. `off` is what a project without [privacy] pays.
"""

import json
import random
import sys
import time

from flywheel.redaction import RULES, Redactor
from flywheel.settings import PrivacySettings
from tests.bench.bench_metrics import WORDS
from tests.bench.machine import machine_facts

PER_REQUEST = 200
ENTITIES = ["EMAIL_ADDRESS", "PHONE_NUMBER", "CREDIT_CARD", "IBAN_CODE", "IP_ADDRESS", "US_SSN"]
OWN = [
    "CUSTOMER_NO=C-[0-9]{6}",
    "ORDER=order [A-Z]{2}[0-9]{4}",
    "PLATE=[A-Z]{1,3}-[A-Z]{2} [0-9]{1,4}",
]


def request(rng: random.Random, first: int) -> dict[str, object]:
    """One request in OTLP/JSON."""
    return {"resourceSpans": [{"scopeSpans": [{"spans": [
        span(rng, first + i) for i in range(PER_REQUEST)
    ]}]}]}  # fmt: skip


def span(rng: random.Random, number: int) -> dict[str, object]:
    """One span of a chat, of about 1.2 kB."""
    said = " ".join(rng.choices(WORDS, k=60))
    if number % 10 == 0:
        said += f" write to user{number}@example.org or call +49 170 {number:07d}"
    messages = json.dumps([{"role": "user", "content": said}])
    texts = {
        "input.value": messages,
        "output.value": " ".join(rng.choices(WORDS, k=40)),
        "llm.model_name": "some-model",
        "session.id": f"session-{number // 8}",
        "user.id": f"user-{number // 80}",
        "openinference.span.kind": "LLM",
    }
    return {
        "traceId": f"{number // 4:032x}",
        "spanId": f"{number:016x}",
        "name": "chat some-model",
        "kind": 3,
        "startTimeUnixNano": "1772445600000000000",
        "endTimeUnixNano": "1772445601000000000",
        "attributes": [
            *({"key": key, "value": {"stringValue": text}} for key, text in texts.items()),
            {"key": "llm.token_count.prompt", "value": {"intValue": "130"}},
            {"key": "llm.token_count.completion", "value": {"intValue": "60"}},
        ],
        "status": {"code": 1},
    }


def spans_per_s(redactor: Redactor, requests: list[dict[str, object]], is_whole: bool) -> float:
    """Spans per CPU-second, after one request to warm up."""
    mask = redactor.whole if is_whole else redactor.rules_only
    mask(requests[0])
    started = time.process_time()
    for one in requests:
        mask(one)
    took_s = max(time.process_time() - started, 1e-9)
    return round(len(requests) * PER_REQUEST / took_s)


def main() -> None:
    """Measure each kind of rule, and Presidio on a tenth of the spans."""
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    rng = random.Random(1)
    requests = [request(rng, first) for first in range(0, n, PER_REQUEST)]
    settings = {
        "off": PrivacySettings(),
        "email": PrivacySettings(rules=["email"]),
        "every rule": PrivacySettings(rules=list(RULES)),
        "three own patterns": PrivacySettings(rules=OWN),
        "fields": PrivacySettings(fields={"user.id": "drop", "metadata.*": "mask"}),
    }
    speeds = {
        name: spans_per_s(Redactor.of(one), requests, is_whole=False)
        for name, one in settings.items()
    }
    few = requests[: max(1, len(requests) // 10)]
    presidio = spans_per_s(Redactor.of(PrivacySettings(entities=ENTITIES)), few, is_whole=True)
    n_bytes = sum(len(json.dumps(one)) for one in requests)
    print(
        json.dumps(
            {
                "benchmark": "redaction",
                "spans": n,
                "bytes_per_span": round(n_bytes / n),
                "spans_per_cpu_s": speeds,
                "presidio_spans_per_cpu_s": presidio,
                # Of each span these are looked at: two texts, two names, a kind and a model.
                "presidio_texts_per_cpu_s": presidio * 5,
                **machine_facts(),
            }
        )
    )


if __name__ == "__main__":
    main()
