"""Becomes another program that dies with the one that started it, even when that one is killed.

    python tether.py PARENT_PID SIGNAL PROGRAM [ARGUMENT...]

Linux keeps the wish across exec, but has it asked for in the child, and ties it to the thread that started the child:
so start children from a thread that lives as long as they may. Run as a file, with nothing of this project imported, it
costs a few milliseconds. Elsewhere than on Linux it only becomes the program.
"""

import ctypes
import os
import sys

PR_SET_PDEATHSIG = 1


def main(parent: int, last: int, program: list[str]) -> None:
    """Ask for the signal `last` at the parent's end, then become `program`.

    Raises:
        OSError: the program cannot be run.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, last)
        if os.getppid() != parent:
            # It ended before it could be asked for.
            sys.exit(1)
    os.execvp(program[0], program)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
