#!/usr/bin/env python3
"""Makes up the results of a large run, for looking at reports: made_up_results.py FOLDER NATS METHODS.

Nothing in them was measured. Most cells are as expected; some of each other verdict are among them.
"""
import json
import pathlib
import random
import sys

NAMES = """port-preserving port-preserving-overloading full-cone address-restricted sequential sequential-random-start random
random-range eim-random symmetric-preserving hash-eim hash-symmetric reset icmp linux-default rfc5382 no-syn-after-syn
cloud-gateway openwrt port-block hairpin none""".split()
METHODS = ["simultaneous-open", "observed-port", "preserved-port", "sequential", "low-ttl", "listen"]
CAUSES = [
    ("predicted port wrong", "SYNs went to 198.51.100.2:4000, but the mapping was 198.51.100.2:4001"),
    ("reset by NAT", "nat-b answered the SYN of 203.0.113.9:41822 with RST ACK, frame 17"),
    ("filtered", "the SYN from 203.0.113.9:41822 was dropped by nat-b, which had sent nothing there"),
]
TRIALS = 20


def trial(number, passed, cause, error, dice):
    base = {"number": number, "seed": dice.getrandbits(50), "took_ms": 90.0 + number}
    if error:
        detail = "peer-a ended with exit code 101: thread 'main' panicked at src/main.rs:7:5: no route"
        return base | {"outcome": "error", "how": "program crashed", "detail": detail}
    if not passed:
        return base | {"outcome": "failed", "how": cause[0], "detail": cause[1], "took_ms": 3000.0}
    time = 20.0 + dice.random() * (3.0 if number % 9 else 300.0)
    return base | {"outcome": "passed", "method": "simultaneous-open", "how": "SYNs crossed",
                   "established_ms": round(time, 3), "authenticated_ms": round(time + 10, 3)}


def quantiles(values):
    if not values:
        return None
    values = sorted(values)
    at = lambda share: values[min(len(values) - 1, int(share * len(values)))]
    return {"min": values[0], "median": at(0.5), "p95": at(0.95), "max": values[-1]}


def cell(index, a, b, method, dice):
    kind = dice.choices(["good", "none", "differs", "undecided", "error", "no_expectation"], [70, 20, 2, 3, 1, 4])[0]
    passes = {"good": TRIALS, "none": 0, "differs": dice.randint(0, 19), "undecided": dice.randint(1, 19),
              "error": 17, "no_expectation": 20}[kind]
    cause = dice.choice(CAUSES)
    each = [trial(n, n <= passes, cause, kind == "error" and n > passes, dice) for n in range(1, TRIALS + 1)]
    count = lambda outcome: sum(t["outcome"] == outcome for t in each)
    passed, failed, error = count("passed"), count("failed"), count("error")
    verdict = {"good": "as_expected", "none": "as_expected"}.get(kind, kind)
    expected = {"good": 1.0, "none": 0.0, "differs": 1.0, "undecided": 0.5, "error": 1.0}.get(kind)
    note = {"differs": f"flaky: {passed} of {TRIALS} passed, and theory says 100 %",
            "undecided": f"{passed} of {TRIALS} passed: too few trials to tell 50 % from less",
            "error": "3 of 20 trials: program crashed: peer-a ended with exit code 101",
            "no_expectation": "theory does not know this method"}.get(kind, "")
    observed = {"probability": passed / (passed + failed), "low": 0.0, "high": 1.0} if passed + failed else None
    return {
        "kind": "punch", "id": f"{a}/{b}/{method}", "index": index, "part": "", "topology": "pair",
        "axes": {"nat-a": a, "nat-b": b, "method": method}, "trip_ms": 10.0,
        "group": "predictable + predictable", "asked": TRIALS, "trials": TRIALS, "passed": passed, "failed": failed,
        "error": error, "skipped": 0,
        "expected": None if expected is None else {"probability": expected, "because": "both external ports can be predicted"},
        "observed": observed,
        "sensitivity": {"false_alarm": 0.0, "fall_to": 0.89, "rise_to": None} if verdict == "as_expected" else None,
        "verdict": verdict, "difference": "flaky" if kind == "differs" else None, "note": note,
        "causes": {cause[0]: failed} if failed else {}, "won_by": {"simultaneous-open: SYNs crossed": passed} if passed else {},
        "established_ms": quantiles([t["established_ms"] for t in each if "established_ms" in t]),
        "authenticated_ms": quantiles([t["authenticated_ms"] for t in each if "authenticated_ms" in t]), "each": each,
    }


def ladder():
    """A trial as a drawing, of as many packets as a usual one has."""
    lanes = [{"name": name, "address": address} for name, address in
             [("peer-a", "10.0.0.2"), ("nat-a", "203.0.113.9"), ("core", None), ("nat-b", "198.51.100.2"), ("peer-b", "10.0.1.2")]]
    legs = [{"from": at, "to": at + 1, "ports": "41822→4000" if at else "5000→4000"} for at in range(4)]
    step = lambda n: {"at_ms": n * 1.25, "until_ms": n * 1.25 + 20, "count": 1, "marks": [],
                      "what": {"kind": "packet", "tone": "syn", "text": "SYN", "legs": legs, "end": "arrived"}}
    return {"schema": 1, "title": "made up", "judgement": "made up", "theory": None, "lanes": lanes,
            "steps": [step(n) for n in range(16)], "elsewhere": 0}


def keep(cell, folder):
    """Keeps the first trial of each outcome, as a run does."""
    seen = set()
    for one in cell["each"]:
        if one["outcome"] not in seen:
            seen.add(one["outcome"])
            one["artefacts"] = f"cells/{cell['id'].replace('/', '~')}/trial-{one['number']}"
            kept = folder / one["artefacts"]
            kept.mkdir(parents=True, exist_ok=True)
            (kept / "ladder.json").write_text(json.dumps(ladder(), ensure_ascii=False), encoding="utf-8")


def proof(nat):
    row = {"axis": "mapping", "expected": "endpoint-independent", "observed": "endpoint-independent", "agrees": True}
    return {"kind": "proof", "id": f"proof/{nat}", "nat": nat, "verdict": "as_expected", "note": "", "rows": [row],
            "took_ms": 40.0}


def main():
    folder, nats, methods = pathlib.Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    dice = random.Random(1)
    names = NAMES[:nats]
    cells = [cell(i, a, b, m, dice) for i, (m, a, b) in enumerate(
        (m, a, b) for m in METHODS[:methods] for a in names for b in names)]
    for one in cells:
        keep(one, folder)
    verdicts = [c["verdict"] for c in cells]
    kinds = ["as_expected", "differs", "undecided", "no_expectation", "error", "skipped"]
    totals = {"cells": len(cells)} | {k: verdicts.count(k) for k in kinds} | {"proofs": len(names), "proofs_failed": 0}
    results = {
        "schema": int(sys.argv[4]) if len(sys.argv) > 4 else 2, "suite": "full", "summary": "every NAT against every other",
        "origin": {"started": "2026-01-01T12:00:00Z", "host": "example",
                   "command": ["testbed", "run", "full", "--filter", "method!=spray"],
                   "programs": [{"path": "/usr/local/bin/puncher", "sha256": "0" * 64, "version": "puncher 0.1.0"}]},
        "testbed": "0.1.0", "kernel": "6.18.44", "nft": "1.0.6", "rights": "root", "processors": 2,
        "wire_scheduling": "SCHED_FIFO", "seed": 1, "part": {"shard": 1, "of": 1, "cells": len(cells), "plan": "0" * 16},
        "trials_per_cell": TRIALS, "jobs": 32, "ending": "complete", "took_ms": 120000.0, "totals": totals,
        "warnings": ["the machine was too slow for 3 trials: they were run again, 2 at a time"],
        "cells": [proof(nat) for nat in names] + cells,
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps(results, indent=1))


main()
