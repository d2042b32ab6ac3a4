"""What the processes below this one use, as /proc tells it (proc_pid_stat(5))."""

import os
import re
from collections import defaultdict
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
NAMES = {  # by a pattern in the command line; the first that fits
    "flower": "flower",
    "gunicorn": "web",
    r"dispatch\d*@": "dispatch",
    r"keys\d*@": "keys",
    r"work\d*@": "worker",
    " beat": "beat",
    "cmp.testing": "demo-ca",
    "valkey": "broker",
    "manage.py up": "up",
    "kube-apiserver": "kube-apiserver",
    "etcd": "etcd",
    "postgres": "postgresql",
}


def cpu_seconds() -> dict[str, float]:
    """Return the CPU time that each part has used so far, of the user and of the system."""
    used: dict[str, float] = defaultdict(float)
    for pid, name in _parts().items():
        fields = _stat(pid)
        used[name] += (int(fields[11]) + int(fields[12])) / TICKS if fields else 0  # utime, stime
    return used


def megabytes() -> dict[str, float]:
    """Return how much of the memory each part has is resident now.

    Without what processes share: PostgreSQL's buffers would count once for each connection.
    """
    held: dict[str, float] = defaultdict(float)
    for pid, name in _parts().items():
        held[name] += sum(map(int, re.findall(r"Rss(?:Anon|File):\s+(\d+) kB", _read(pid)))) / 1024
    return held


def _parts() -> dict[int, str]:
    """Name each process below this one by what it does."""
    parents = {int(it.name): _stat(int(it.name)) for it in Path("/proc").glob("[0-9]*")}
    ours = {os.getpid()}
    while more := {
        pid for pid, stat in parents.items() if stat and int(stat[1]) in ours and pid not in ours
    }:
        ours |= more
    return {pid: _name(pid) for pid in ours - {os.getpid()}}


def _name(pid: int) -> str:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        words = ""
    return next((name for sign, name in NAMES.items() if re.search(sign, words)), "other")


def _read(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/status").read_text()
    except OSError:  # it is gone
        return ""


def _stat(pid: int) -> list[str]:
    """Return the fields behind the command's name, from the process's state on."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:  # it is gone
        return []
