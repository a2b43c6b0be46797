"""The sandbox: whatever the code does is contained, told in one sentence, and the caller lives on.

Real bubblewrap, as the user of the tests and, where that is root, as nobody too.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from flywheel.doctor import examine
from flywheel.evolution.sandbox import syscalls, walls
from flywheel.evolution.sandbox.running import Limits, Ran, run_code
from flywheel.evolution.sandbox.walls import NoSandbox
from tests.sandboxed import sandbox

__all__ = ["sandbox"]

ROOT = Path(__file__).resolve().parent.parent
NOBODY = 65534
# What a process of nobody needs of Flywheel to run a function.
NEEDED = (
    *("__init__.py", "errors.py", "safety.py", "evolution/__init__.py"),
    *(f"evolution/sandbox/{name}.py" for name in ("__init__", "inside", "running", "syscalls")),
    "evolution/sandbox/walls.py",
)
# A size that no other run of the sandbox has, by which its processes are found.
FILE_MB = 13
LIMITS = {"cpu_s": 1, "wall_s": 60.0, "memory_mb": 256, "output_kb": 64, "file_mb": FILE_MB}
GOOD = "def f(x):\n    return [x, {'a': None}, 'ä']"

# What a run of f(1) does, the failure that is told, and words of the sentence.
ATTACKS = {
    "a fork": ("import os\ndef f(x):\n    os.fork()", "raised", "not permitted"),
    "a fork bomb that does not mind": (
        "import os\n"
        "def f(x):\n"
        "    while True:\n"
        "        try:\n"
        "            os.fork()\n"
        "        except OSError:\n"
        "            pass",
        *("time", "takes more than 1 s of the processor"),
    ),
    "a thread": (
        "import threading\ndef f(x):\n    threading.Thread(target=print).start()",
        *("raised", "can't start new thread"),
    ),
    "a program": (
        "import subprocess\ndef f(x):\n    subprocess.run(['/bin/sh'])",
        *("raised", "not permitted"),
    ),
    "an endless loop": ("def f(x):\n    while True: pass", "time", "takes more than 1 s"),
    "a memory bomb": (
        "def f(x):\n    held = []\n    while True: held.append(bytearray(1 << 24))",
        *("memory", "needs more than 256 MB of memory"),
    ),
    "a limit raised": (
        "import resource as r\ndef f(x):\n    r.setrlimit(r.RLIMIT_AS, (1 << 40, 1 << 40))",
        *("raised", "not allowed to raise"),
    ),
    "a password file": (
        "def f(x):\n    return open('/etc/passwd').read()",
        *("raised", "No such file"),
    ),
    "the processes of the host": (
        "import os\ndef f(x):\n    return os.listdir('/proc')",
        *("raised", "No such file"),
    ),
    "a socket": (
        "import socket\ndef f(x):\n    socket.create_connection(('127.0.0.1', 80))",
        *("raised", "not permitted"),
    ),
    "a socket of the kernel": (
        "import socket\ndef f(x):\n    socket.socket(socket.AF_UNIX)",
        *("raised", "not permitted"),
    ),
    "a file at the root": ("def f(x):\n    open('/x', 'w')", "raised", "Read-only file system"),
    # Read-only as a whole, and not ours to write besides.
    "a file of Python": ("import os\ndef f(x):\n    open(os.__file__, 'a')", "raised", "os.py'"),
    "a gigabyte printed": (
        "def f(x):\n    for _ in range(1024): print('x' * (1 << 20))",
        *("output", "writes more than 64 kB"),
    ),
    "a gigabyte on the channel": (
        "import os\ndef f(x):\n    for fd in range(1, 20):\n"
        "        try:\n            for _ in range(1024): os.write(fd, b'x' * (1 << 20))\n"
        "        except OSError: pass",
        *("output", "writes more than 64 kB"),
    ),
    "a long value": ("def f(x):\n    return 'x' * (1 << 20)", "output", "more than 64 kB"),
    "a gigabyte in a file": (
        "def f(x):\n    open('a', 'w').write('x' * (30 << 20))",
        *("raised", "File too large"),
    ),
    "a gigabyte in files": (
        "def f(x):\n    for n in range(100): open(str(n), 'w').write('x' * (1 << 20))",
        *("raised", "No space left"),
    ),
    "an early end": ("import os\ndef f(x):\n    os._exit(0)", "ended", "without an answer"),
    "a crash": (
        "import ctypes\ndef f(x):\n    ctypes.string_at(0)",
        *("ended", "by signal 11, without an answer"),
    ),
    "a set": ("def f(x):\n    return {1}", "raised", "not JSON serializable"),
    "no number": ("def f(x):\n    return float('nan')", "raised", "not JSON compliant"),
    "no function": ("def g(x):\n    return x", "raised", "KeyError"),
    "no Python": ("def f(x:\n", "raised", "SyntaxError in line 1"),
}
# What they print instead of an answer.
FORGED = {
    "no JSON": "b'no answer'",
    "no object": "b'[1]'",
    "a number that is none": "b'{\"value\": NaN}'",
    "a number that is too large": "b'{\"value\": [1e999]}'",
    "nested too deep": "b'[' * 20000",
}
# A new namespace, memory that no limit counts, another process.
CALLS = ("unshare", "memfd_create", "shmget", "ptrace", "mount", "setns")
# What a user is tried with too; the rest asks nothing of who starts it.
TRIED_AS_NOBODY = (
    *("a fork", "a fork bomb that does not mind", "a program", "an endless loop", "a memory bomb"),
    *("a limit raised", "a password file", "a socket", "a file at the root", "a file of Python"),
    *("a gigabyte printed", "a gigabyte in files"),
)


def run_here(jobs: dict[str, str]) -> dict[str, Ran]:
    return {name: run_code(code, "f", {"x": 1}, Limits(**LIMITS)) for name, code in jobs.items()}


AS_NOBODY = """
import dataclasses, json, os, sys
from flywheel.evolution.sandbox.running import Limits, run_code
asked = json.load(sys.stdin)
assert os.getuid() == 65534
ran = {n: run_code(c, "f", {"x": 1}, Limits(**asked["limits"])) for n, c in asked["jobs"].items()}
json.dump({name: dataclasses.asdict(one) for name, one in ran.items()}, sys.stdout)
"""


@pytest.fixture(scope="module")
def run_as_nobody() -> Iterator[Callable[[dict[str, str]], dict[str, Ran]]]:
    """Runs jobs in a process of nobody, with a Python and a copy of the sandbox it can read."""
    if os.getuid() != 0:
        pytest.skip("the tests run as a user already")
    rights = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        for name in NEEDED:
            copy = Path(folder, "flywheel", name)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / "flywheel" / name, copy)
        python = readable_python(rights)

        def run(jobs: dict[str, str]) -> dict[str, Ran]:
            asked = json.dumps({"jobs": jobs, "limits": LIMITS})
            command = [python, "-c", AS_NOBODY]
            done = subprocess.run(
                command, input=asked, capture_output=True, text=True, cwd=folder, **rights
            )
            assert done.returncode == 0, done.stderr
            return {name: Ran(**one) for name, one in json.loads(done.stdout).items()}

        yield run


def readable_python(rights: dict[str, object]) -> str:
    named = f"python3.{sys.version_info.minor}"
    places = (Path(sys.base_prefix, "bin", named), f"/usr/local/bin/{named}", f"/usr/bin/{named}")
    for place in map(str, places):
        try:
            subprocess.run([place, "-c", ""], check=True, **rights)
        except (OSError, subprocess.CalledProcessError):
            continue
        return place
    pytest.skip("nobody can read no Python here")


@pytest.fixture(params=["as the user of the tests", "as nobody"])
def run(
    request: pytest.FixtureRequest, sandbox: None
) -> Callable[[dict[str, str]], dict[str, Ran]]:
    if request.param == "as nobody":
        return request.getfixturevalue("run_as_nobody")
    return run_here


@pytest.fixture
def tried(request: pytest.FixtureRequest) -> list[str]:
    is_nobody = request.node.callspec.params["run"] == "as nobody"
    return list(TRIED_AS_NOBODY if is_nobody else ATTACKS)


def test_every_attack_is_contained_and_told_and_the_caller_lives_on(
    run: Callable[[dict[str, str]], dict[str, Ran]], tried: list[str]
) -> None:
    ran = run({name: ATTACKS[name][0] for name in tried} | {"good": GOOD})
    expected = {name: ATTACKS[name][1] for name in tried}
    assert {name: one.failure for name, one in ran.items()} == {**expected, "good": None}
    wrong = {name: ran[name].error for name in tried if ATTACKS[name][2] not in ran[name].error}
    assert wrong == {}
    assert ran["good"].value == [1, {"a": None}, "ä"]
    assert not left_over()


def left_over() -> list[int]:
    """Processes of our sandboxes that are alive after a minute."""
    end = time.monotonic() + 60
    while (found := alive()) and time.monotonic() < end:
        time.sleep(0.2)
    return found


def alive() -> list[int]:
    sized = f"--size\0{FILE_MB << 20}\0".encode()
    found = []
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdigit() and sized in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
        except OSError:
            continue
    return found


def test_a_function_sees_nothing_of_the_host(
    monkeypatch: pytest.MonkeyPatch, run: Callable[[dict[str, str]], dict[str, Ran]]
) -> None:
    monkeypatch.setenv("FLYWHEEL_SECRET", "do not tell")
    own = "def f(x):\n    open('a', 'w').write('1')\n    return open('a').read()"
    few = """
import os, socket
LIBRARIES = (os.path.dirname(os.__file__), '/usr/lib', '/lib')
def f(x):
    seen = [os.path.join(top, name) for top, _, names in os.walk('/') for name in names]
    seen = [one for one in seen if not one.startswith(LIBRARIES) and '.so' not in one]
    return [sorted(os.environ), os.getuid(), socket.gethostname(), os.getcwd(), seen]
"""
    ran = run({"own": own, "few": few})
    assert ran["own"].value == "1"
    variables, user, host, folder, seen = ran["few"].value
    assert not any("FLYWHEEL" in name or name == "HOME" for name in variables)
    assert (user, host, folder) == (NOBODY, "sandbox", "/work")
    # Besides libraries: the interpreter.
    assert [Path(path).name.rstrip("0123456789.") for path in seen] == ["python"]


def test_the_kernel_answers_only_what_is_on_the_list(sandbox: None) -> None:
    code = (
        "import ctypes\n"
        "def f(x):\n"
        "    libc = ctypes.CDLL(None, use_errno=True)\n"
        f"    return [[getattr(libc, c)(0, 0, 0, 0, 0), ctypes.get_errno()] for c in {CALLS}]"
    )
    ran = run_code(code, "f", {"x": 1}, Limits(**LIMITS))
    assert ran.value == [[-1, 1]] * len(CALLS)


# socket, clone, clone3, unshare, setns, mount, ptrace, bpf, keyctl, memfd_create, shmget, mmap of
# others (process_vm_writev), io_uring_setup and perf_event_open of each architecture.
FORBIDDEN = {
    "x86_64": {41, 56, 57, 58, 435, 272, 308, 165, 101, 321, 250, 319, 29, 311, 425, 298},
    "aarch64": {198, 220, 435, 97, 268, 40, 117, 280, 219, 279, 194, 271, 425, 241},
}


@pytest.mark.parametrize("machine", syscalls.known_machines())
def test_the_lists_of_calls_hold_none_that_leads_out(machine: str) -> None:
    program = syscalls.filter_of(machine)
    steps = [program[at : at + 8] for at in range(0, len(program), 8)]
    asked = {int.from_bytes(step[4:], "little") for step in steps if step[:2] == b"\x15\x00"}
    assert len(asked) > 90
    assert not asked & FORBIDDEN[machine]


@pytest.mark.parametrize("said", FORGED)
def test_what_code_writes_in_the_place_of_an_answer_is_read_as_of_a_stranger(
    sandbox: None, said: str
) -> None:
    code = (
        "import os\ndef f(x):\n"
        "    for fd in range(3, 20):\n"
        "        try:\n"
        f"            os.write(fd, {FORGED[said]})\n"
        "        except OSError:\n"
        "            pass\n"
        "    os._exit(0)"
    )
    ran = run_code(code, "f", {"x": 1}, Limits(**LIMITS))
    assert (ran.value, ran.failure) == (None, "answer")


def test_what_hides_in_an_error_or_in_print_is_shown(sandbox: None) -> None:
    code = "def f(x):\n    print('a\u202eb\x1b[2J')\n    raise ValueError('\u202e\x07')"
    ran = run_code(code, "f", {"x": 1}, Limits(**LIMITS))
    assert ran.printed == "ab\ufffd[2J\n"
    assert ran.error == "ValueError in line 3: \ufffd"


def test_a_value_can_be_sent_on_whatever_is_in_it(sandbox: None) -> None:
    code = "def f(x):\n    return ['\\ud800', {'\\udfff': '\\U0001f600'}]"
    ran = run_code(code, "f", {"x": 1}, Limits(**LIMITS))
    assert ran.value == ["?", {"?": "\U0001f600"}]


def test_the_same_call_gives_the_same_answer(sandbox: None) -> None:
    code = "def f(x):\n    return list({'a', 'b', 'c', 'd'})"
    values = [run_code(code, "f", {"x": 1}, Limits(**LIMITS)).value for _ in range(2)]
    assert values[0] == values[1]


def test_without_bubblewrap_nothing_is_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NoSandbox, match=r"bubblewrap is not installed; `apt-get install"):
        run_code(GOOD, "f", {"x": 1})


def test_where_namespaces_are_refused_nothing_is_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A stand-in for a bubblewrap that the kernel turns down."""
    program = tmp_path / "bwrap"
    program.write_text(
        "#!/bin/sh\necho 'bwrap: No permissions to create new namespace' >&2\nexit 1"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NoSandbox, match="none could be made: bwrap: No permissions to create"):
        run_code(GOOD, "f", {"x": 1})


def test_on_a_machine_whose_calls_are_not_known_nothing_is_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(walls.platform, "machine", lambda: "riscv64")
    with pytest.raises(NoSandbox, match="for aarch64 and x86_64 alone, not for linux on riscv64"):
        run_code(GOOD, "f", {"x": 1})


def test_the_doctor_says_whether_there_is_a_sandbox_where_a_model_writes_functions(
    sandbox: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert [one for one in examine(tmp_path) if one.name == "sandbox"] == []
    monkeypatch.setenv("FLYWHEEL_EVOLUTION__MODEL", "some")
    (found,) = [one for one in examine(tmp_path) if one.name == "sandbox"]
    assert (found.state, found.sentence[:20]) == ("ok", "a function ran in it")
    monkeypatch.setenv("PATH", str(tmp_path))
    (found,) = [one for one in examine(tmp_path) if one.name == "sandbox"]
    assert found.state == "warning"
    assert "bubblewrap is not installed" in found.sentence
