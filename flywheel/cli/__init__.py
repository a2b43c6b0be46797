"""The command line: the library with a mouth; `flywheel <stage> <verb>`.

Exit 0 done, 1 refused or failed with one line that says what to do, 2 misuse.
"""

from flywheel.cli.main import main

__all__ = ["main"]
