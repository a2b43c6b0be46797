"""The other side of `sandbox`: answers one metric after the other, and can reach two files only.

A script, started in a process of its own: DuckDB's limits do not hold inside one function call
(`levenshtein` of two long texts, `repeat` a thousand times), so the system's have to. It imports
nothing of Flywheel. A SELECT comes in as JSON, an error or an Arrow stream goes out.
"""

import json
import resource
import sys
from dataclasses import dataclass
from multiprocessing.connection import Connection

import duckdb
import pyarrow as pa

MIB = 1 << 20
REQUIRED = ("trace_id", "value")
# What a metric may return, and how it is brought into shape; a text is cut to what a page can show.
COLUMNS = {
    "trace_id": "cast(trace_id as varchar)",
    "value": "try_cast(value as double)",
    "label": "left(cast(label as varchar), 100)",
    "reason": "left(cast(reason as varchar), 500)",
    "evidence_turn": "try_cast(evidence_turn as integer)",
}
ABSENT = {
    "label": "cast(null as varchar)",
    "reason": "cast(null as varchar)",
    "evidence_turn": "cast(null as integer)",
}


class Refused(Exception):
    """A SELECT that does not return what a metric returns."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What every SELECT of this process may read and take."""

    traces: str
    messages: str
    # The SELECT of the view `nodes` of these two.
    nodes: str
    seconds: float
    memory_mb: int
    threads: int


def open_locked(terms: Terms) -> duckdb.DuckDBPyConnection:
    """A connection of its own, with three views and no way to files, network or settings."""
    connection = duckdb.connect(
        config={
            "autoload_known_extensions": "false",
            "autoinstall_known_extensions": "false",
            "allow_community_extensions": "false",
            "allow_persistent_secrets": "false",
            "python_enable_replacements": "false",
            "memory_limit": f"{terms.memory_mb}MiB",
            "threads": str(terms.threads),
            # A folder to spill to would be a folder to read and write.
            "temp_directory": "",
        }
    )
    connection.execute("set TimeZone = 'UTC'")
    connection.read_parquet(terms.traces).create_view("traces")
    connection.read_parquet(terms.messages).create_view("messages")
    connection.execute(f"create view nodes as {terms.nodes}")
    quoted = ", ".join("'" + p.replace("'", "''") + "'" for p in (terms.traces, terms.messages))
    connection.execute(f"set allowed_paths = [{quoted}]")
    connection.execute("set enable_external_access = false")
    connection.execute("set lock_configuration = true")
    return connection


def answer(terms: Terms, sql: str, max_rows: int, tools: list[str], labels: list[str]) -> pa.Table:
    """The rows of the SELECT in the shape of `COLUMNS`, and whether a value was no number."""
    with open_locked(terms) as connection:
        connection.execute("set variable tools = $1", [tools])
        connection.execute("set variable labels = $1", [labels])
        kinds = [statement.type.name for statement in connection.extract_statements(sql)]
        if len(kinds) != 1 or not kinds[0].startswith("SELECT"):
            raise Refused("is not one SELECT")
        # A statement that can be a view reads and nothing else.
        connection.execute(f"create temporary view answers as {sql}")
        rows = connection.view("answers")
        given = [name.lower() for name in rows.columns]
        wrong = [f"no column {name}" for name in REQUIRED if name not in given]
        wrong += [f"an unknown column {name}" for name in given if name not in COLUMNS]
        if wrong:
            raise Refused(f"returns {wrong[0]}; the columns of a metric are {', '.join(COLUMNS)}")
        shaped = [
            f"{how if name in given else ABSENT[name]} as {name}" for name, how in COLUMNS.items()
        ]
        shaped.append("value is not null and try_cast(value as double) is null as is_no_number")
        table = rows.limit(max_rows + 1).project(", ".join(shaped)).to_arrow_table()
    if table.num_rows > max_rows:
        raise Refused(f"returns more than {max_rows:,} rows")
    return table


def limit_process(terms: Terms) -> None:
    """No file written, no core, and little more memory than DuckDB is given."""
    # Half as much again for what DuckDB does not count, and a start of some 600 MiB.
    space = (terms.memory_mb * 3 // 2 + 1024 + 64 * terms.threads) * MIB
    for kind, most in (
        (resource.RLIMIT_AS, space),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(kind, (most, most))


def limit_next_answer(terms: Terms) -> None:
    """End the process by itself, should the one that started it be gone."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    most = int(used.ru_utime + used.ru_stime + terms.seconds * terms.threads) + 10
    resource.setrlimit(resource.RLIMIT_CPU, (most, resource.RLIM_INFINITY))


def serve(channel: Connection, terms: Terms) -> None:
    """Say that the process is ready, then answer until the other side hangs up."""
    channel.send_bytes(b"")
    while True:
        try:
            job = json.loads(channel.recv_bytes())
        except EOFError:
            return
        limit_next_answer(terms)
        try:
            table = answer(terms, **job)
            stream = pa.BufferOutputStream()
            with pa.ipc.new_stream(stream, table.schema) as writer:
                writer.write_table(table)
        except (duckdb.OutOfMemoryException, MemoryError):
            why = f"needs more than {terms.memory_mb:,} MB of memory"
        except (Refused, duckdb.Error) as error:
            why = str(error).partition("\n")[0][:300]
        else:
            channel.send_bytes(b"")
            channel.send_bytes(stream.getvalue())
            continue
        channel.send_bytes(why.encode())


if __name__ == "__main__":
    agreed = Terms(**json.loads(sys.argv[2]))
    limit_process(agreed)
    serve(Connection(int(sys.argv[1])), agreed)
