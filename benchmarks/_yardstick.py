"""How fast this machine is just now: a virtual one may take twice the time for the same, later."""

import time

ROUNDS = 1_000_000


def milliseconds() -> float:
    """Return the CPU time that a loop of Python takes which has nothing to do with OCCM."""
    seen: dict[int, str] = {}
    began = time.process_time()
    for number in range(ROUNDS):
        seen[number % 1000] = str(number)
    return (time.process_time() - began) * 1000
