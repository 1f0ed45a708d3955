#!/usr/bin/env python3
"""Counts the cells that differ or are errors and are not drawn, although others are that are as expected, or none is at all:
undrawn.py RESULTS PAGE."""
import json
import pathlib
import sys

results = json.loads(pathlib.Path(sys.argv[1]).read_text(encoding="utf-8"))
page = pathlib.Path(sys.argv[2]).read_text(encoding="utf-8")
parts = (part.split('"', 1) for part in page.split('id="cell-')[1:])
drawn = {cell for cell, text in parts if 'class="ladder"' in text}
cells = [cell for cell in results["cells"] if cell["kind"] == "punch"]
good_are_drawn = any(cell["verdict"] == "as_expected" and cell["id"] in drawn for cell in cells)
failing = [cell for cell in cells if cell["verdict"] in ("differs", "error") and cell["id"] not in drawn]
print(len(failing) if good_are_drawn or not drawn else 0)
