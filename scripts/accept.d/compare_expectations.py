#!/usr/bin/env python3
"""Compares what theory expected in two runs of a suite: compare_expectations.py BEFORE NOW

Prints how many cells have another expectation without a known reason, and on standard error the cells that have another one,
by reason. The reasons are changes that were made on purpose after the older version, which knew one probability a cell:

- interval: the expectation became an interval that holds the older probability. It covers a counter that comes to the end of
  its pool, and draws that look like a rule, as docs/judging.md says. A probability may differ from the end of the interval by
  rounding.
- redial: a dial that is reset has lost its mapping, so the next dial draws another port. Only NATs that draw a port for every
  connection do so, and only where the other side answers a stray SYN by a reset.
"""

import json
import os
import sys

# Relative; what is computed as 1 - (1 - p) loses as much.
ROUNDING = 1e-9

# NATs that draw a port for every connection, and those in front of a host or NAT that resets a SYN from a wrong port.
REDRAWS = {"random"}
RESETS = {"full-cone", "address-restricted", "reset"}


def expectations(run):
    with open(os.path.join(run, "results.json"), encoding="utf-8") as file:
        cells = json.load(file)["cells"]
    return {cell["id"]: cell for cell in cells if cell["kind"] == "punch"}


def reason(before, now):
    """Why the expectations of a cell differ; `same` where they do not, None where nothing explains it."""
    one, other = before["expected"], now["expected"]
    if one is None or other is None:
        return "same" if one == other else None
    older, newer = one["probability"], other["probability"]
    low, high = other.get("low", newer), other.get("high", newer)
    if older == newer == low == high:
        return "same"
    if low * (1 - ROUNDING) <= older <= high * (1 + ROUNDING):
        return "interval"
    nats = (now["axes"]["nat-a"], now["axes"]["nat-b"])
    redials = any(draws in REDRAWS and other in RESETS for draws, other in (nats, nats[::-1]))
    if redials and older < low and "each refusal is followed by another dial" in other["because"]:
        return "redial"
    return None


def main(before, now):
    before, now = expectations(before), expectations(now)
    cells = {}
    for name in sorted(before.keys() | now.keys()):
        why = reason(before[name], now[name]) if name in before and name in now else None
        cells.setdefault(why, []).append(name)
    for why in ("interval", "redial", None):
        for name in cells.get(why, []):
            print(f"{why or 'NO KNOWN REASON'}: {name}", file=sys.stderr)
    print(len(cells.get(None, [])))


main(*sys.argv[1:])
