#!/usr/bin/env python3
"""Holds the matrix of a program in docs/programs.md against a run of it: programs.py PAGE NAME RESULTS

Prints how many cells the page has, how many of them came out otherwise, and which.
"""

import json
import re
import sys


def shown(page, name):
    """The cells of the first matrix under the heading of that name: (nat-a, nat-b) -> "4/4"."""
    _, section = open(page).read().split(f"\n## {name}\n", 1)
    lines = section.split("```")[1].splitlines()
    head = next(at for at, line in enumerate(lines) if "nat-a \\ nat-b" in line)
    columns = re.split(r"\s{2,}", lines[head].strip())[1:]
    cells = {}
    for line in lines[head + 1 :]:
        words = re.split(r"\s{2,}", line.strip())
        if len(words) != len(columns) + 1:
            break
        for column, cell in zip(columns, words[1:]):
            cells[words[0], column] = re.match(r"\d+/\d+", cell)[0]
    return cells


def main():
    page, name, results = sys.argv[1:]
    cells = shown(page, name)
    with open(results) as file:
        ran = [cell for cell in json.load(file)["cells"] if cell["kind"] == "punch"]
    found = {(cell["axes"]["nat-a"], cell["axes"]["nat-b"]): f"{cell['passed']}/{cell['trials']}" for cell in ran}
    other = [f"{a}/{b}: {cells[a, b]} on the page, {found.get((a, b))} here" for a, b in cells if found.get((a, b)) != cells[a, b]]
    print(len(cells), len(other) + abs(len(found) - len(cells)), "; ".join(other[:5]))


main()
