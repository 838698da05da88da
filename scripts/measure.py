"""What benchmarks share: running programs, timing them, and a table of what came out."""

import os
import signal
import statistics
import subprocess
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# The variables of the caller that programs see; all else would make two runs differ.
PASSED = ["PATH", "DOCKER_HOST", "DOCKER_CONFIG", "LANG", "TMPDIR", "SSL_CERT_FILE"]


class Failed(Exception):
    pass


def say(topic, text):
    print(f"  {topic:<10} {text}", flush=True)


def run(command, cwd=None, env=None, ok=(0,)):
    """Runs a program to its end and gives its standard output."""
    # In a group of its own, so that Ctrl-C reaches it from us, once, and it can save what it does.
    child = subprocess.Popen(
        [str(word) for word in command], cwd=cwd, env=env, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )
    try:
        out, err = child.communicate()
    except BaseException:
        for number in (signal.SIGINT, signal.SIGKILL):
            try:
                os.killpg(child.pid, number)
                child.communicate(timeout=60)
                break
            except (subprocess.TimeoutExpired, ProcessLookupError):
                pass
        raise
    if child.returncode not in ok:
        words = " ".join(str(word) for word in command)
        raise Failed(f"{words}\nended with {child.returncode}:\n{out[-2000:]}{err[-4000:]}")
    return out


def timed(work, *arguments):
    begun = time.perf_counter()
    work(*arguments)
    return time.perf_counter() - begun


def spawned(words, env, ok=0):
    """The time of a process from its start to its end, without what Python's own module adds."""
    quiet = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in (0, 1, 2)]
    begun = time.perf_counter()
    pid = os.posix_spawnp(str(words[0]), [str(word) for word in words], env, file_actions=quiet)
    _, status = os.waitpid(pid, 0)
    took = time.perf_counter() - begun
    if os.waitstatus_to_exitcode(status) != ok:
        raise Failed(f"{' '.join(map(str, words))} ended with {os.waitstatus_to_exitcode(status)}")
    return took


class Table:
    """Rows are printed at the end, so that programs' output does not tear them apart."""

    def __init__(self):
        self.rows = []

    def add(self, name, samples, unit="s", limit=None, ratio=None):
        """A row; its target is the largest median, or with `ratio`, the largest ratio to those."""
        scale, digits = {"s": (1, 2), "ms": (1000, 1)}[unit]
        middle = statistics.median(samples)
        three = [f"{value * scale:.{digits}f} {unit}" for value in (min(samples), middle, max(samples))]
        shown = ""
        judged = middle * scale
        if ratio:
            judged = middle / statistics.median(ratio)
            shown = f"{judged:.2f}x"
        self.rows.append([name, str(len(samples)), *three, shown, *self.judge(judged, limit, "x" if ratio else f" {unit}")])

    def plain(self, name, text):
        self.rows.append([name, "", "", text, "", "", "", ""])

    @staticmethod
    def judge(value, limit, unit):
        return ["", ""] if limit is None else [f"{limit}{unit}", "met" if value <= limit else "MISSED"]

    def show(self):
        rows = [["", "runs", "min", "median", "max", "ratio", "target", ""], *self.rows]
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        print()
        for row in rows:
            cells = [cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths))]
            print("  " + "  ".join(cells).rstrip())
