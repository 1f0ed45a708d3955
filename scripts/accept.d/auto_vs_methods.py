"""Counts the pairs of NATs on which a named method passed significantly more often than auto: PAIRS WORSE."""

import json
import math
import sys

FALSE_ALARMS = 1e-5


def at_least_so_many(passed_a, tried_a, passed_b, tried_b):
    """Fisher's exact test: the chance that b passes so often by luck if a is as good as b."""
    passed, tried = passed_a + passed_b, tried_a + tried_b
    ways = math.comb(tried, passed)
    highest = min(tried_b, passed)
    counts = range(passed_b, highest + 1)
    return sum(math.comb(tried_b, k) * math.comb(tried_a, passed - k) for k in counts) / ways


def main():
    cells = [c for c in json.load(open(sys.argv[1]))["cells"] if c["kind"] == "punch"]
    pairs = {}
    for cell in cells:
        axes = cell["axes"]
        pair = (axes["nat-a"], axes["nat-b"])
        pairs.setdefault(pair, {})[axes["method"]] = (cell["passed"], cell["passed"] + cell["failed"])
    share = FALSE_ALARMS / max(1, sum(len(methods) - 1 for methods in pairs.values()))
    worse = 0
    for pair, methods in pairs.items():
        auto = methods.pop("auto")
        better = [m for m, result in methods.items() if at_least_so_many(*auto, *result) < share]
        if better:
            worse += 1
            print(*pair, "auto", auto, {m: methods[m] for m in better}, file=sys.stderr)
    print(len(pairs), worse)


main()
