"""The walls: bubblewrap's command line around a Python that has nothing but its own library.

Limits and folders in, a command out, or one sentence that says why there is no sandbox. The one
idea is that the sandbox begins empty: no network, no process but its own, no file of the host save
the Python that runs, its shared libraries and the packages that were asked for, all read-only.

Needs bubblewrap 0.8 or later, and a kernel that lets this user make a user namespace.
"""

import platform
import shutil
import sys
import sysconfig
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from flywheel.errors import Refused
from flywheel.evolution.sandbox.syscalls import filter_of, known_machines

WORK = "/work"
PACKAGES = "/packages"
_INSIDE = Path(__file__).with_name("inside.py")
# Whoever is inside is nobody, whoever started it.
_NOBODY = "65534"


class NoSandbox(Refused):
    """There is no sandbox here, and so code that a model wrote is not run."""

    def __init__(self, why: str):
        super().__init__(f"code that a model wrote is run in a sandbox only, and {why}")
        self.why = why


@dataclass(frozen=True, slots=True)
class Python:
    """An interpreter and what it needs of the host to start."""

    executable: Path
    library: Path
    shared: tuple[Path, ...]

    @classmethod
    def running(cls) -> "Python":
        """The one that runs Flywheel, without its packages."""
        named = f"python{sys.version_info.major}.{sys.version_info.minor}"
        executable = Path(sys.base_prefix, "bin", named)
        if not executable.exists():
            executable = Path(sys.executable).resolve()
        folder = sysconfig.get_config_var("LIBDIR")
        file = sysconfig.get_config_var("INSTSONAME")
        shared = Path(str(folder), str(file))
        return cls(
            executable.resolve(),
            Path(sysconfig.get_path("stdlib")),
            (shared,) if shared.suffix != ".a" and shared.is_file() else (),
        )


def walls(python: Python, packages: Sequence[Path], file_mb: int, filter_fd: int) -> list[str]:
    """The command that runs `inside.py` and nothing else; raises NoSandbox."""
    program = shutil.which("bwrap")
    if program is None:
        raise NoSandbox("bubblewrap is not installed; `apt-get install bubblewrap` does that")
    folders = ":".join({str(path.parent): "" for path in python.shared})
    return [
        program,
        *("--unshare-all", "--unshare-user", "--disable-userns", "--die-with-parent"),
        *("--new-session", "--cap-drop", "ALL", "--uid", _NOBODY, "--gid", _NOBODY),
        *("--hostname", "sandbox", "--clearenv", "--setenv", "LANG", "C.UTF-8"),
        *("--setenv", "PYTHONPATH", PACKAGES, "--setenv", "LD_LIBRARY_PATH", folders),
        # The same answer to the same call, and no threads where a package would start some.
        *("--setenv", "PYTHONHASHSEED", "0", "--setenv", "OPENBLAS_NUM_THREADS", "1"),
        *("--setenv", "OMP_NUM_THREADS", "1"),
        *_host_libraries(),
        *_read_only((path, path) for path in (python.executable, *python.shared)),
        *_read_only([(python.library, python.library)]),
        *_without_packages(python.library),
        *_read_only((path, Path(PACKAGES, path.name)) for path in packages),
        *("--size", str(file_mb << 20), "--tmpfs", WORK, "--chdir", WORK),
        *("--remount-ro", "/", "--seccomp", str(filter_fd)),
        *("--", str(python.executable), "-s", "-S", "-P", "-B", "-X", "utf8"),
        *("-c", _INSIDE.read_text(encoding="utf-8")),
    ]


def filter_here() -> bytes:
    """The filter of calls for this machine; raises NoSandbox."""
    machine = platform.machine()
    if sys.platform != "linux" or machine not in known_machines():
        raise NoSandbox(
            f"there is one on Linux for {' and '.join(known_machines())} alone, not for "
            f"{sys.platform} on {machine}"
        )
    return filter_of(machine)


def _host_libraries() -> list[str]:
    """The system's shared libraries; where /lib is a link, the same link."""
    arch = sysconfig.get_config_var("MULTIARCH") or ""
    is_multiarch = bool(arch) and Path("/usr/lib", arch).is_dir()
    found: list[str] = []
    folders = [f"/usr/lib/{arch}", f"/lib/{arch}"] if is_multiarch else ["/usr/lib", "/lib"]
    for folder in (Path(name) for name in (*folders, "/usr/lib64", "/lib64")):
        top = Path(*folder.parts[:2])
        if top.is_symlink():
            link = ["--symlink", str(top.readlink()), str(top)]
            found += link if str(top) not in found else []
        elif folder.is_dir():
            found += _read_only([(folder, folder)])
    return found


def _read_only(pairs: Iterable[tuple[Path, Path]]) -> list[str]:
    return [word for here, there in pairs for word in ("--ro-bind", str(here), str(there))]


def _without_packages(library: Path) -> list[str]:
    """Empty folders in the place of what is installed beside the library."""
    names = ("site-packages", "dist-packages")
    hidden = [library / name for name in names if (library / name).is_dir()]
    return [word for path in hidden for word in ("--tmpfs", str(path), "--remount-ro", str(path))]
