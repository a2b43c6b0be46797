"""The lake's Parquet in an S3-compatible store.

The store is a double, moto's server: `pip install 'moto[server]'`, or these are skipped.
"""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from flywheel.loop import rebuild_warehouse, run_loop
from flywheel.store import Project, open_project
from flywheel.traces.importing import import_file
from tests.conftest import write_lines
from tests.lakes import lake_url
from tests.served import free_port
from tests.test_loop import sample_lines, without_times


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a store with an empty bucket `lake`."""
    pytest.importorskip("moto.server", reason="no S3: pip install 'moto[server]'")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    place = f"127.0.0.1:{free_port()}"
    host, port = place.split(":")
    command = [sys.executable, "-m", "moto.server", "-H", host, "-p", port]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as server:
        try:
            # It takes a second or two to listen.
            with httpx.Client(transport=httpx.HTTPTransport(retries=7), timeout=60) as client:
                assert client.put(f"http://{place}/lake").status_code == 200
            yield place
        finally:
            server.kill()


def test_the_loop_gives_the_same_rows_with_a_lake_in_a_bucket(
    project: Project, bucket: str, tmp_path: Path
) -> None:
    home = tmp_path / "other"
    home.mkdir()
    (home / "flywheel.toml").write_text(
        f'[warehouse]\nurl = "{lake_url()}"\nlake_path = "s3://lake/data"\n'
        f's3_endpoint = "{bucket}"\ns3_tls = false\n'
    )
    other = open_project(home)
    source = write_lines(tmp_path / "traces.jsonl", sample_lines("traces", 16))
    for one in (project, other):
        assert import_file(one.stores, source).new == 16
        run_loop(one)
    expected = without_times(project)
    assert expected["scores"]
    assert without_times(other) == expected
    assert b"data/main/scores/" in httpx.get(f"http://{bucket}/lake?list-type=2").content
    rebuild_warehouse(other)
    assert without_times(other) == expected
