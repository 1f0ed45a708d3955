"""Runs a suite and pauses something of it at random moments: pause.py TESTBED WHAT SECONDS TIMES OUT

WHAT is all, harness, program or wire. Runs are made until there were so many pauses. Prints one line of JSON: the exit codes (null
for a run that hung and was killed), how many pauses there were, how many cells came to which verdict, how many trials were void, and
the notes of cells that differ or broke.
"""

import collections
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time

HANGS_AFTER_S = 240
FREEZER = "/sys/fs/cgroup/freezer"


def threads(pid):
    """The threads of a process; none if it has ended."""
    with contextlib.suppress(OSError):
        return [int(tid) for tid in os.listdir(f"/proc/{pid}/task")]
    return []


def tasks_of(pid, name):
    """The threads of a process that are called NAME."""
    for tid in threads(pid):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/task/{tid}/comm", encoding="utf-8") as comm:
            if comm.read().strip() == name:
                yield tid


def descendants(pid):
    """All processes below one, itself first."""
    children = collections.defaultdict(list)
    for entry in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError, IndexError), open(f"/proc/{entry}/stat", encoding="utf-8", errors="replace") as stat:
            children[int(stat.read().rsplit(")", 1)[1].split()[1])].append(int(entry))
    found = [pid]
    for one in found:
        found.extend(children[one])
    return found


def name(pid):
    with contextlib.suppress(OSError), open(f"/proc/{pid}/comm", encoding="utf-8") as comm:
        return comm.read().strip()
    return ""


def send(pids, number):
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


@contextlib.contextmanager
def stopped(pids):
    """Stops processes by signals."""
    send(pids, signal.SIGSTOP)
    try:
        yield
    finally:
        send(pids, signal.SIGCONT)


@contextlib.contextmanager
def frozen(tids):
    """Freezes threads in a cgroup of version 1, where single threads have one."""
    folder = f"{FREEZER}/testbed-accept-{os.getpid()}"
    os.makedirs(folder, exist_ok=True)

    def write(file, text):
        with open(file, "w", encoding="utf-8") as out:
            out.write(str(text))

    try:
        for tid in tids:
            with contextlib.suppress(OSError):
                write(f"{folder}/tasks", tid)
        write(f"{folder}/freezer.state", "FROZEN")
        yield
    finally:
        write(f"{folder}/freezer.state", "THAWED")
        for _ in range(100):
            # What they have started meanwhile is in there, too.
            with contextlib.suppress(OSError), open(f"{folder}/tasks", encoding="utf-8") as tasks:
                for tid in tasks.read().split():
                    with contextlib.suppress(OSError):
                        write(f"{FREEZER}/tasks", tid)
            with contextlib.suppress(OSError):
                os.rmdir(folder)
                break
            time.sleep(0.01)


def pause(what, pid):
    """What stops, as a context; `None` where there is nothing to stop at the moment."""
    if what == "all":
        # As an engine for containers does; a freezer of version 1 takes threads.
        freezes = os.path.isdir(FREEZER) and random.random() < 0.5
        everything = descendants(pid)
        return frozen([tid for one in everything for tid in threads(one)]) if freezes else stopped(everything)
    if what == "harness":
        return stopped([pid])
    if what == "wire":
        return frozen(list(tasks_of(pid, "wire")))
    programs = [other for other in descendants(pid)[1:] if name(other) == "puncher"]
    return stopped([random.choice(programs)]) if programs else None


def play(testbed, what, seconds, pauses, out):
    """One run with at most so many pauses. Returns its exit code, the number of pauses, and its cells."""
    command = [testbed, "run", "classic", "--trials", "40", "--jobs", "8", "--seed", "1", "--keep", "none", "--out", out]
    with open(out + ".log", "w", encoding="utf-8") as log:
        run = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    began, made = time.monotonic(), 0
    while run.poll() is None and made < pauses:
        time.sleep(random.uniform(0.2, 0.8))
        context = pause(what, run.pid) if run.poll() is None else None
        if context:
            with context:
                time.sleep(seconds)
            made += 1
    try:
        code = run.wait(HANGS_AFTER_S - (time.monotonic() - began))
    except subprocess.TimeoutExpired:
        run.kill()
        code = None
    cells = []
    with contextlib.suppress(OSError), open(out + "/results.json", encoding="utf-8") as results:
        cells = [cell for cell in json.load(results)["cells"] if cell["kind"] == "punch"]
    return code, made, cells


def main():
    testbed, what, seconds, times, out = sys.argv[1:]
    random.seed(f"{what} {seconds}")
    codes, pauses, cells = [], 0, []
    while pauses < int(times) and len(codes) < int(times):
        code, made, of_run = play(testbed, what, float(seconds), int(times) - pauses, f"{out}-{len(codes)}")
        codes.append(code)
        pauses += made
        cells += of_run
    wrong = {"differs", "error"}
    print(json.dumps({
        "codes": codes,
        "pauses": pauses,
        "verdicts": collections.Counter(cell["verdict"] for cell in cells),
        "void": sum(len(cell.get("void", [])) for cell in cells),
        "notes": sorted({cell["note"] for cell in cells if cell["verdict"] in wrong}),
    }))


main()
