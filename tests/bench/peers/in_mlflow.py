"""Work that MLflow's users do with its client, run by the Python of MLflow's environment.

    python in_mlflow.py metrics|judge URI N [JUDGE_URL]

Prints one JSON line. As its guide to evaluating production traces says: the traces are searched
for, `mlflow.genai.evaluate` runs scorers on them, and the feedback is stored on the traces.
"""

import json
import os
import sys
import time

os.environ["MLFLOW_GENAI_EVAL_MAX_WORKERS"] = "8"
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"

import mlflow
from mlflow.genai import make_judge
from mlflow.genai.scorers import scorer

ASKED = (
    "Does the user object to an answer of the assistant? Say yes or no. "
    "The conversation: {{ inputs }} The last answer: {{ outputs }}"
)


@scorer
def answer_words(outputs: object) -> int:
    """Words of the answer."""
    return len(str(outputs).split())


@scorer
def says_sorry(outputs: object) -> bool:
    """Whether the answer apologises."""
    return "sorry" in str(outputs).lower()


def main(work: str, uri: str, n: int, judge_url: str = "") -> dict[str, object]:
    """Search, evaluate, store; what that cost this process."""
    mlflow.set_tracking_uri(uri)
    mlflow.set_experiment(experiment_id="0")
    scorers = [answer_words, says_sorry]
    if work == "judge":
        os.environ["OPENAI_API_KEY"] = "none"
        judge = {"model": "openai:/stub", "base_url": judge_url, "feedback_value_type": str}
        scorers = [make_judge(name="objection", instructions=ASKED, **judge)]
    cpu, wall = time.process_time(), time.perf_counter()
    traces = mlflow.search_traces(locations=["0"], max_results=n)
    result = mlflow.genai.evaluate(data=traces, scorers=scorers)
    figures = {
        "asked": len(traces),
        "client_cpu_s": round(time.process_time() - cpu, 2),
        "wall_s": round(time.perf_counter() - wall, 2),
    }
    frame = result.result_df
    for one in scorers:
        figures[f"n_{one.name}"] = int(frame[f"{one.name}/value"].notna().sum())
    if work == "metrics":
        figures["sorry"] = int(frame["says_sorry/value"].sum())
        figures["words"] = int(frame["answer_words/value"].sum())
    return figures


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), *sys.argv[4:])))
