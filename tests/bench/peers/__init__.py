"""The same corpus into this project, MLflow and Phoenix: `python -m tests.bench.peers --peers DIR`.

Each product runs as its users start it, in an environment of its own and on SQLite, gets the same
bytes over OpenTelemetry, and is asked for the same work. A figure is one JSON line.
"""
