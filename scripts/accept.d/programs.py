#!/usr/bin/env python3
"""Holds the matrices of a program in docs/programs.md against a run of it: programs.py PAGE NAME RESULTS

Prints how many cells the page has, how many of them came out otherwise, and which. A cell that always passes in one place and never
in the other is otherwise; between these chance has a say.
"""

import json
import re
import sys


def shown(page, name):
    """The cells of the matrices under the heading of that name: (method, nat-a, nat-b) -> (passed, trials)."""
    _, section = open(page).read().split(f"\n## {name}\n", 1)
    cells, method, columns = {}, None, []
    for line in section.split("```")[1].splitlines():
        words = re.split(r"\s{2,}", line.strip())
        if line.startswith("method="):
            method, columns = line.removeprefix("method="), []
        elif words[0] == "nat-a \\ nat-b":
            columns = words[1:]
        elif columns and len(words) == len(columns) + 1:
            for column, cell in zip(columns, words[1:]):
                passed, trials = re.match(r"(\d+)/(\d+)", cell).groups()
                cells[method, words[0], column] = int(passed), int(trials)
    return cells


def rate(cell):
    passed, trials = cell
    return passed / trials if trials else None


def main():
    page, name, results = sys.argv[1:]
    cells = shown(page, name)
    with open(results) as file:
        ran = [cell for cell in json.load(file)["cells"] if cell["kind"] == "punch"]
    key = lambda axes: (axes["method"], axes["nat-a"], axes["nat-b"])
    found = {key(cell["axes"]): (cell["passed"], cell["trials"]) for cell in ran if not cell["error"]}
    other = [
        f"{'/'.join(at)}: {cells[at]} on the page, {found.get(at)} here"
        for at in cells
        if at not in found or {rate(cells[at]), rate(found[at])} == {0, 1}
    ]
    other += [f"{'/'.join(at)}: not on the page" for at in found.keys() - cells.keys()]
    print(len(cells), len(other), "; ".join(other[:5]))


main()
