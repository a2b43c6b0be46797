"""What sandboxed code may ask of the kernel: a seccomp filter, put together by hand.

The machine's architecture in, a BPF program as bytes out. The one idea is a list of what is
allowed: a call that is not on it is answered with "not permitted". Nothing on it starts a process
or a thread, opens a socket, or makes memory that the limits do not count; so that a fork bomb has
no first fork, as root as well, whom the kernel excuses from the limit on processes.

Numbers: Linux, arch/x86/entry/syscalls/syscall_64.tbl and include/uapi/asm-generic/unistd.h.
Layout: Linux, Documentation/userspace-api/seccomp_filter.rst.
"""

import struct
from collections.abc import Sequence

# Of files, memory, signals, time, of the process itself, waiting, and ending: in the order of their
# numbers. The wait (61; 260) and execve (59; 221) are bubblewrap's own.
_X86_64 = (
    *(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 17, 18, 19, 20, 21, 22, 23, 24, 25),
    *(28, 32, 33, 35, 36, 38, 39, 59, 60, 61, 62, 63, 72, 73, 74, 75, 76, 77, 79, 80, 81, 82),
    *(83, 84, 87, 89, 95, 96, 97, 98, 99, 100, 102, 104, 107, 108, 110, 111, 115, 118, 120),
    *(121, 124, 127, 128, 131, 137, 138, 158, 160, 186, 201, 202, 204, 213, 217, 218, 219, 228),
    *(229, 230, 231, 232, 233, 234, 257, 258, 262, 263, 264, 267, 269, 270, 271, 273, 274, 281),
    *(290, 291, 292, 293, 302, 309, 316, 318, 324, 332, 334, 436, 437, 439),
)
_ARM_64 = (
    *(17, 19, 20, 21, 22, 23, 24, 25, 32, 34, 35, 38, 43, 44, 45, 46, 48, 49, 50, 56, 57, 59),
    *(61, 62, 63, 64, 65, 66, 67, 68, 72, 73, 78, 79, 80, 82, 83, 93, 94, 96, 98, 99, 100, 101),
    *(102, 103, 113, 114, 115, 123, 124, 128, 129, 131, 132, 134, 135, 136, 137, 139, 148, 150),
    *(153, 155, 156, 158, 160, 163, 164, 165, 166, 168, 169, 172, 173, 174, 175, 176, 177, 178),
    *(179, 214, 215, 216, 221, 222, 226, 233, 260, 261, 276, 278, 283, 291, 293, 436, 437, 439),
)
# By the name that `platform.machine` gives: AUDIT_ARCH_ of linux/audit.h, and the calls.
_ARCHITECTURES: dict[str, tuple[int, Sequence[int]]] = {
    "x86_64": (0xC000003E, _X86_64),
    "aarch64": (0xC00000B7, _ARM_64),
}

_LOAD, _JUMP_EQUAL, _RETURN = 0x20, 0x15, 0x06
_NUMBER_AT, _ARCHITECTURE_AT = 0, 4
_KILL, _REFUSE_EPERM, _ALLOW = 0x80000000, 0x00050001, 0x7FFF0000


def known_machines() -> list[str]:
    """The architectures whose calls are known."""
    return sorted(_ARCHITECTURES)


def filter_of(machine: str) -> bytes:
    """The filter for a machine, as `struct sock_filter` one after the other.

    Raises KeyError where the machine is none of `known_machines`.
    """
    architecture, allowed = _ARCHITECTURES[machine]
    program = [
        _step(_LOAD, _ARCHITECTURE_AT),
        _step(_JUMP_EQUAL, architecture, 1, 0),
        _step(_RETURN, _KILL),
        _step(_LOAD, _NUMBER_AT),
    ]
    for number in allowed:
        program += [_step(_JUMP_EQUAL, number, 0, 1), _step(_RETURN, _ALLOW)]
    return b"".join([*program, _step(_RETURN, _REFUSE_EPERM)])


def _step(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)
