"""`python -m flywheel.web`: the server of one project's pages and API, until a signal ends it.

`flywheel up` starts it; by itself it is for a service manager.
"""

import signal
import sys
from pathlib import Path

import click
import sqlalchemy as sa
import uvicorn

from flywheel.errors import FlywheelError
from flywheel.store import open_project
from flywheel.web.app import create_app

# A claim and a decision are short; what takes longer is an export, and can be asked for again.
GRACE_S = 10


@click.command()
@click.option("--project", "folder", type=click.Path(path_type=Path), required=True)
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=3000, show_default=True)
@click.option("--dagster-url", default="")
def serve(folder: Path, host: str, port: int, dagster_url: str) -> None:
    """Serve the pages of a project."""
    try:
        project = open_project(folder.absolute())
        app = create_app(project, host, dagster_url)
        with project.stores.ledger.read():
            pass
    except (FlywheelError, sa.exc.SQLAlchemyError, OSError) as error:
        click.echo(f"flywheel: {str(error).splitlines()[0]}", err=True)
        sys.exit(1)
    # What is under way is answered first; then the server hands the signal on to this.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    uvicorn.run(
        app,
        host=host,
        port=port,
        log_level="warning",
        access_log=False,
        server_header=False,
        # A public address has a proxy before it, on this machine unless FORWARDED_ALLOW_IPS says.
        proxy_headers=bool(project.settings.web.public_url),
        timeout_graceful_shutdown=GRACE_S,
        ws="none",
        lifespan="on",
    )


if __name__ == "__main__":
    serve()
