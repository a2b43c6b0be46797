"""An agent with Langfuse's SDK; where its spans go, the environment says: LANGFUSE_BASE_URL."""

from langfuse import Langfuse, propagate_attributes

QUESTION = "When does order 4711 leave?"
ANSWER = "On Friday."


def main() -> None:
    langfuse = Langfuse()
    with (
        langfuse.start_as_current_observation(
            as_type="agent", name="answer", input=QUESTION
        ) as root,
        propagate_attributes(user_id="user-3", session_id="session-9", tags=["beta"]),
    ):
        with root.start_as_current_observation(
            as_type="tool", name="find_order", input={"number": 4711}
        ) as tool:
            tool.update(output={"leaves": "Friday"})
        with root.start_as_current_observation(
            as_type="generation",
            name="reply",
            model="small-model",
            input=[
                {"role": "system", "content": "You look after orders."},
                {"role": "user", "content": QUESTION},
            ],
        ) as generation:
            generation.update(
                output={"role": "assistant", "content": ANSWER},
                usage_details={"input": 50, "output": 7},
                cost_details={"total": 0.002},
            )
        root.update(input=QUESTION, output=ANSWER)
        print(root.trace_id)
    langfuse.flush()
    langfuse.shutdown()


if __name__ == "__main__":
    main()
