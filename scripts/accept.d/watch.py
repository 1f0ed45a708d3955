"""Runs a command and watches how it grows: watch.py TRIALS COMMAND...

Prints one line of JSON: seconds, exit code, the most descriptors, threads and children seen, and by how much the memory
that is its own grew per trial over the last tenth of the time (a line fitted to the samples; trials go evenly).
"""

import json
import os
import subprocess
import sys
import time

EVERY_S = 0.25


def field(pid, name):
    with open(f"/proc/{pid}/status", encoding="utf-8") as status:
        for line in status:
            if line.startswith(name + ":"):
                return int(line.split()[1])
    return 0


def children(pid):
    found = 0
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{entry}/stat", encoding="utf-8", errors="replace") as stat:
                found += int(stat.read().rsplit(")", 1)[1].split()[1]) == pid
        except (OSError, IndexError):
            continue
    return found


def kernel_kb():
    kinds = ("Slab:", "KernelStack:", "PageTables:", "Percpu:")
    with open("/proc/meminfo", encoding="utf-8") as info:
        return sum(int(line.split()[1]) for line in info if line.startswith(kinds))


def slope(points):
    """Least squares, kB a second."""
    count = len(points)
    mean_x = sum(x for x, _ in points) / count
    mean_y = sum(y for _, y in points) / count
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / spread if spread else 0.0


def main():
    trials, command = int(sys.argv[1]), sys.argv[2:]
    kernel_before, began = kernel_kb(), time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    samples, most = [], {"descriptors": 0, "threads": 0, "children": 0}
    while process.poll() is None:
        try:
            now = {
                "descriptors": len(os.listdir(f"/proc/{process.pid}/fd")),
                "threads": field(process.pid, "Threads"),
                "children": children(process.pid),
            }
            samples.append((time.monotonic() - began, field(process.pid, "RssAnon")))
            most = {key: max(value, now[key]) for key, value in most.items()}
        except OSError:
            pass
        time.sleep(EVERY_S)
    took = time.monotonic() - began
    # What is written at the end is not growth by trials.
    running = [sample for sample in samples if sample[0] < 0.97 * took]
    last = running[-max(len(running) // 10, 3):]
    by_trial = slope(last) * took / trials * 1024
    summary = {
        "seconds": round(took, 1),
        "code": process.returncode,
        **most,
        "growth_bytes_per_trial": round(by_trial),
        "most_mb": round(max(kb for _, kb in samples) / 1024, 1),
        "kernel_growth_mb": round((kernel_kb() - kernel_before) / 1024, 1),
    }
    print(json.dumps(summary))


main()
