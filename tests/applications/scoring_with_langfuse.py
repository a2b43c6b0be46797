"""A program that asks Langfuse's SDK whether its key is in use, and scores a trace with it."""

from langfuse import Langfuse

COMMENT = "Not what I asked."


def main() -> None:
    langfuse = Langfuse()
    assert langfuse.auth_check()
    with langfuse.start_as_current_observation(as_type="span", name="answer", input="?"):
        trace_id = langfuse.get_current_trace_id()
        langfuse.score_current_trace(
            name="user-feedback", value=0, data_type="BOOLEAN", comment=COMMENT
        )
    langfuse.create_score(name="length", value=3.0, trace_id=trace_id)
    print(trace_id)
    langfuse.flush()
    langfuse.shutdown()


if __name__ == "__main__":
    main()
