"""Every page as a picture, to be looked at: light and dark, on a desk and on a phone.

    python -m tests.screenshots OUT_DIR

A furnished project is served and each page of it saved as `<page>-<width>-<scheme>.png`.
"""

import sys
import tempfile
from pathlib import Path

from flywheel.store import open_project
from tests.browser import DESKTOP, PHONE, new_page, running_browser
from tests.served import addresses, furnish, serving, signed_in


def main(folder: Path) -> None:
    """Take them all."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="flywheel-pages-") as scratch:
        project = open_project(Path(scratch) / "shop-assistant")
        furnish(project)
        with serving(project) as server, running_browser() as browser:
            if browser is None:
                sys.exit("there is no Chromium; install it, or name it in FLYWHEEL_CHROMIUM")
            session = signed_in(server, "ada", "admin")
            for viewport in (DESKTOP, PHONE):
                for scheme in ("light", "dark"):
                    look = {"viewport": viewport, "color_scheme": scheme}
                    end = f"{viewport['width']}-{scheme}.png"
                    with new_page(browser, **look) as page:
                        page.goto(f"{server.url}/login")
                        page.screenshot(path=folder / f"login-{end}")
                    with new_page(browser, storage_state=session, **look) as page:
                        for name, path in addresses(project).items():
                            page.goto(f"{server.url}{path}")
                            file = folder / f"{name.replace(', ', '-').replace(' ', '-')}-{end}"
                            page.screenshot(path=file, full_page=True)
        project.stores.ledger.close()


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m tests.screenshots OUT_DIR")
    main(Path(sys.argv[1]))
