"""Fuzz with atheris: python -m tests.fuzz {decode,receive} [--bytes N] [-OPTION=…] [CORPUS]

With --bytes it ends after so many bytes of input, else when something is found, or by libFuzzer's
options: -max_total_time=SECONDS, -runs=N. Inputs that reach new code are kept in CORPUS if that is
given; what is found is written to crash-… in the current folder, and can be given as CORPUS.
"""

import importlib
import os
import random
import sys
import tempfile
import time
import warnings
from pathlib import Path

atheris = importlib.import_module("atheris")  # untyped, and not there for every platform
warnings.simplefilter("ignore")  # doubtful names in certificates


def main(name: str, *options: str) -> None:
    with atheris.instrument_imports(include=["cmp"]):
        targets = importlib.import_module("tests.fuzz.targets")
    elements = importlib.import_module("tests.fuzz.elements")
    targets.protection.PBM_ITERATIONS = targets.AFFORDABLE
    targets.protection.PBKDF2_ITERATIONS = targets.AFFORDABLE
    receive = targets.Receive()
    target, seeds, skip = {
        "decode": (targets.decode, list(targets.seeds_for_decode()), 0),
        "receive": (receive, list(receive.seeds()), 1),
    }[name]
    messages = [seed[skip:] for seed in seeds]

    def mutate(data: bytes, longest: int, seed: int) -> bytes:
        dice = random.Random(seed)
        if dice.random() < 0.2:
            return bytes(atheris.Mutate(data, longest))
        chosen = dice.choice(seeds) if len(data) <= skip or dice.random() < 0.1 else data
        spoiled: bytes = elements.spoil(chosen[skip:], dice, messages)
        return (chosen[:skip] + spoiled)[:longest]

    budget, arguments = taken(options)
    with tempfile.TemporaryDirectory() as folder:
        for i, seed in enumerate(seeds):
            (Path(folder) / f"seed{i}").write_bytes(seed)
        arguments = ["fuzz", "-max_len=8192", "-timeout=20", "-rss_limit_mb=1024", *arguments]
        again = any(Path(argument).is_file() for argument in arguments)  # what was found before
        corpora = [] if again else [folder]
        atheris.Setup([*arguments, *corpora], counted(target, budget), custom_mutator=mutate)
        atheris.Fuzz()


def taken(options: tuple[str, ...]) -> tuple[int | None, list[str]]:
    """Return the value of --bytes, and the other options."""
    rest = list(options)
    if "--bytes" not in rest:
        return None, rest
    at = rest.index("--bytes")
    return int(rest[at + 1]), rest[:at] + rest[at + 2 :]


def counted(target: object, budget: int | None) -> object:
    runs = total = slowest = 0
    began = time.perf_counter()

    def run(data: bytes) -> None:
        nonlocal runs, total, slowest
        before = time.perf_counter_ns()
        target(data)  # type: ignore[operator]
        slowest = max(slowest, time.perf_counter_ns() - before)
        runs, total = runs + 1, total + len(data)
        if budget is not None and total >= budget:
            passed = time.perf_counter() - began
            sys.stdout.write(
                f"{total} bytes in {runs} runs and {passed:.0f} s, "
                f"the slowest {slowest / 1e6:.0f} ms: nothing found\n"
            )
            sys.stdout.flush()
            os._exit(0)  # the only way out of libFuzzer

    return run


if __name__ == "__main__":
    main(*sys.argv[1:])
