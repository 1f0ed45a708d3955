"""Kills testbed at random moments and waits until nothing of it is left: kill.py TESTBED FOLDER TIMES

Run it in a network namespace of its own. A veth pair is laid from here into every namespace that testbed holds: its
near end vanishes with the namespace. Prints how often all was gone within the limit, and the slowest time.
"""

import os
import random
import signal
import subprocess
import sys
import time

LIMIT_S = 5.0
# Namespaces that are watched at each kill, drawn at random: laying a veth pair takes its time.
WATCHED = 12


def namespaces(pid):
    """Paths of the network namespaces that a process holds by descriptors, each once."""
    found = {}
    folder = f"/proc/{pid}/fd"
    try:
        for fd in os.listdir(folder):
            path = f"{folder}/{fd}"
            try:
                target = os.readlink(path)
            except OSError:
                continue
            if target.startswith("net:["):
                found.setdefault(target, path)
    except OSError:
        pass
    return list(found.values())


def family(pid):
    """A process and all its descendants."""
    children = {}
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{entry}/stat", encoding="utf-8", errors="replace") as stat:
                parent = int(stat.read().rsplit(")", 1)[1].split()[1])
        except (OSError, IndexError):
            continue
        children.setdefault(parent, []).append(int(entry))
    found, waiting = [], [pid]
    while waiting:
        one = waiting.pop()
        found.append(one)
        waiting.extend(children.get(one, []))
    return found


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


def one_kill(testbed, folder, number):
    """Seconds from the kill until everything was gone, or None."""
    out = f"{folder}/killed-{number}"
    with open(os.devnull, "w", encoding="utf-8") as null:
        process = subprocess.Popen(
            [testbed, "run", "classic", "--trials", "200", "--out", out], stdout=null, stderr=null
        )
    moment = time.monotonic() + random.uniform(0.0, 3.0)
    while time.monotonic() < moment and process.poll() is None:
        time.sleep(0.005)
    laid = 0
    found = namespaces(process.pid)
    for index, path in enumerate(random.sample(found, min(WATCHED, len(found)))):
        command = ["ip", "link", "add", f"wit{index}", "type", "veth", "peer", "name", "witness", "netns", path]
        laid += subprocess.run(command, stderr=subprocess.DEVNULL, check=False).returncode == 0
    members = family(process.pid)
    os.kill(process.pid, signal.SIGKILL)
    killed = time.monotonic()
    process.wait()
    while time.monotonic() < killed + LIMIT_S:
        if not witnesses_left() and not any(map(alive, members)):
            return time.monotonic() - killed, laid, len(members)
        time.sleep(0.01)
    print("left:", witnesses_left(), [pid for pid in members if alive(pid)], file=sys.stderr)
    return None, laid, len(members)


def witnesses_left():
    listed = subprocess.run(["ip", "-o", "link", "show"], capture_output=True, text=True, check=True).stdout
    return [line.split(":")[1].split("@")[0].strip() for line in listed.splitlines() if ": wit" in line]


def main():
    testbed, folder, times = sys.argv[1], sys.argv[2], int(sys.argv[3])
    good, slowest, laid, members = 0, 0.0, 0, 0
    for number in range(times):
        took, veths, family_size = one_kill(testbed, folder, number)
        laid += veths
        members += family_size
        if took is not None:
            good += 1
            slowest = max(slowest, took)
    print(f"{good} {slowest:.2f} s ({laid} namespaces, {members} processes)")


main()
