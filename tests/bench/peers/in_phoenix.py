"""Work that Phoenix's users do with its client, run by the Python of Phoenix's environment.

    python in_phoenix.py metrics|judge URL N [JUDGE_URL]

Prints one JSON line. As its guide to evaluating traces says: root spans are fetched as a data
frame, evaluators run on it, and the scores are logged as annotations of the spans.
"""

import asyncio
import json
import sys
import time

from phoenix.client import Client
from phoenix.evals import (
    LLM,
    async_evaluate_dataframe,
    bind_evaluator,
    create_classifier,
    create_evaluator,
    evaluate_dataframe,
)
from phoenix.evals.utils import to_annotation_dataframe

ASKED = (
    "Does the user object to an answer of the assistant? "
    "The conversation: {input} The last answer: {output}"
)
COLUMNS = {"input": "attributes.input.value", "output": "attributes.output.value"}
AT_ONCE = 8


@create_evaluator(name="answer_words", kind="code")
def answer_words(output: str) -> int:
    """Words of the answer."""
    return len(output.split())


@create_evaluator(name="says_sorry", kind="code")
def says_sorry(output: str) -> bool:
    """Whether the answer apologises."""
    return "sorry" in output.lower()


def main(work: str, url: str, n: int, judge_url: str = "") -> dict[str, object]:
    """Fetch, evaluate, store; what that cost this process."""
    client = Client(base_url=url)
    cpu, wall = time.process_time(), time.perf_counter()
    spans = client.spans.get_spans_dataframe(
        project_identifier="default", root_spans_only=True, limit=n, timeout=300
    )
    if work == "metrics":
        only = {"output": COLUMNS["output"]}
        bound = [
            bind_evaluator(evaluator=e, input_mapping=only) for e in (answer_words, says_sorry)
        ]
        found = evaluate_dataframe(dataframe=spans, evaluators=bound, hide_tqdm_bar=True)
    else:
        llm = LLM(
            provider="openai",
            model="stub",
            api_key="none",
            base_url=judge_url,
            initial_per_second_request_rate=1000,
        )
        choices = {"yes": 1, "no": 0}
        judge = create_classifier(name="objection", prompt_template=ASKED, llm=llm, choices=choices)
        found = asyncio.run(
            async_evaluate_dataframe(
                dataframe=spans,
                evaluators=[bind_evaluator(evaluator=judge, input_mapping=COLUMNS)],
                concurrency=AT_ONCE,
                hide_tqdm_bar=True,
            )
        )
    noted = to_annotation_dataframe(found)
    client.spans.log_span_annotations_dataframe(dataframe=noted, sync=True)
    figures = {
        "asked": len(spans),
        "client_cpu_s": round(time.process_time() - cpu, 2),
        "wall_s": round(time.perf_counter() - wall, 2),
    }
    named = noted["annotation_name" if "annotation_name" in noted else "name"]
    for name in sorted(set(named)):
        figures[f"n_{name}"] = int((named == name).sum())
    if work == "metrics":
        figures["sorry"] = int(noted["score"][named == "says_sorry"].astype(float).sum())
        figures["words"] = int(noted["score"][named == "answer_words"].astype(float).sum())
    return figures


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), *sys.argv[4:])))
