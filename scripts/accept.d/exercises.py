#!/usr/bin/env python3
"""Tries the table of CONTRIBUTING.md: exercises.py COPY [EXERCISE...]

COPY is a scratch copy of the repository, which is changed and mended again and again. Each exercise adds one member to
a list of the code, or a file. Then

- a member of a list of the code must not compile; what the compiler names is mended, by the compiler's own suggestion or
  by a mend that stands here, until it compiles;
- what the compiler cannot see (a check of the kernel, a topology, a NAT profile) compiles at once;
- the files that the compiler names are all in the row of the table, and each other file of the row is named by a test
  that fails.
"""

import json
import os
import re
import subprocess
import sys

COPY = os.path.abspath(sys.argv[1])


class Exercise:
    def __init__(self, row, first, mends, compiles=False):
        self.row = row  # how the row of CONTRIBUTING.md begins
        self.first = first  # [(file, text, what stands there afterwards)]: what is added; a new file has no text
        self.mends = mends  # the same, for what the compiler has no suggestion for; each is used once its file is named
        self.compiles = compiles  # whether only tests can see what is missing


def after(file, anchor, text):
    return (file, anchor, anchor + text)


BEHAVIOR = "testbed/src/model/behavior.rs"
AXIS = "testbed/src/model/axis.rs"
FIELD = "    pub quota: Option<u32>,\n"
UNREAD = "quota: _,\n"

EXERCISES = {
    "value": Exercise(
        "a value of an axis",
        [after(BEHAVIOR, "    /// It is answered by a reset.\n    Reset,\n", "    /// It is told twice.\n    Twice,\n")],
        [after(AXIS, "words!(SynAfterSyn {", ' Twice => "twice",')],
    ),
    "method": Exercise(
        "a method",
        [
            after("puncher/src/method/mod.rs", "    /// By way of the common NAT.\n    Hairpin,\n", "    /// By luck.\n    Luck,\n"),
            after("testbed/src/model/theory/method.rs", "    Private,\n    Hairpin,\n", "    Luck,\n"),
        ],
        [after("testbed/src/model/theory/method.rs", "words!(Method {", ' Luck => "luck",')],
    ),
    "cause": Exercise(
        "a cause",
        [after("testbed/src/model/cause.rs", "pub enum Cause {\n", "    /// Nothing explains it better.\n    BadLuck,\n")],
        [after("testbed/src/model/cause.rs", "words!(Cause {", ' BadLuck => "bad luck",')],
    ),
    "format": Exercise(
        "an output format",
        [after("testbed/src/report/format.rs", "pub enum Format {\n", "    /// For songs.\n    Verse,\n")],
        [after("testbed/src/report/format.rs", "words!(Format {", ' Verse => "verse",')],
    ),
    "axis": Exercise(
        "an axis of NATs",
        [after(BEHAVIOR, FIELD, "    /// Whether the moon matters.\n    pub moon: bool,\n")],
        [
            after(BEHAVIOR, "            quota: None,\n", "            moon: false,\n"),
            (AXIS, "            quota,\n        } = self;", "            quota,\n            moon,\n        } = self;"),
            after(AXIS, "    Timeouts,\n    Quota,\n", "    Moon,\n"),
            after(AXIS, '    Quota => "quota",\n', '    Moon => "moon",\n'),
            after(AXIS, "            NatAxis::Quota => quota.map_or_else(|| \"none\".to_owned(), |n| n.to_string()),\n",
                  "            NatAxis::Moon => moon.to_string(),\n"),
            after("testbed/src/model/catalogue/reader.rs", "            quota: raw.quota,\n", "            moon: false,\n"),
            after("testbed/src/model/feasibility.rs", UNREAD, "            moon: _,\n"),
            after("testbed/src/model/theory/mod.rs", UNREAD, "        moon: _,\n"),
            after("testbed/src/lab/nat_rules.rs", UNREAD, "        moon: _,\n"),
            after("testbed/tests/lab/covering.rs", "        quota: QUOTAS[at(12)],\n", "        moon: false,\n"),
        ],
    ),
    "profile": Exercise(
        "a NAT profile",
        [after("topologies/nats.toml", "", '[nat.moody]\nsummary = "a NAT that no suite uses"\n\n')],
        [],
        compiles=True,
    ),
    "check": Exercise(
        "a check of the kernel",
        [
            after(
                "testbed/src/probe/kernel_checks/states.rs",
                "    CheckSpec {\n        id: \"reset-of-half-open\",\n",
                '        asks: "the same again?",\n        packets: "RST in",\n        expected: &[(ALWAYS, "ended")],\n'
                '        rules: || source("masquerade"),\n        measure: after_reset,\n    },\n'
                '    CheckSpec {\n        id: "reset-again",\n',
            )
        ],
        [],
        compiles=True,
    ),
    "topology": Exercise(
        "a topology or a suite",
        [("topologies/quartet.toml", "", 'name = "quartet"\nsummary = "nobody"\n[node.core]\nkind = "router"\n')],
        [("testbed/src/model/embedded.rs", '"pair"', '"pair", "quartet"')],
        compiles=True,
    ),
}


# The tests that need no lab; those that look at the files of the repository come first.
TESTS = (["--package", "testbed", "--test", "tests", "complete"], ["--workspace", "--lib"])


def fail(message):
    sys.exit(f"exercises: {message}")


def read(file):
    with open(os.path.join(COPY, file), encoding="utf-8") as source:
        return source.read()


def write(file, text):
    with open(os.path.join(COPY, file), "w", encoding="utf-8") as source:
        source.write(text)


def edit(change):
    file, text, instead = change
    found = read(file) if os.path.exists(os.path.join(COPY, file)) else ""
    if text not in found:
        fail(f"{file} has changed: it lacks {text!r}")
    write(file, found.replace(text, instead, 1))


def row_of(name):
    """The paths of a row of the table."""
    for line in read("CONTRIBUTING.md").splitlines():
        if line.startswith(f"| {name} |"):
            return re.findall(r"`([\w./-]+[./][\w/]*)`", line)
    fail(f"CONTRIBUTING.md has no row {name!r}")


def in_source(span):
    """Where a span stands outside of all macros."""
    while span.get("expansion"):
        span = span["expansion"]["span"]
    return span


def compile_errors():
    """The errors of the compiler, each with its files and the edits that it suggests."""
    command = ["cargo", "check", "--workspace", "--all-targets", "--keep-going", "--quiet", "--message-format=json"]
    done = subprocess.run(command, cwd=COPY, capture_output=True, text=True, check=False)
    errors = []
    for line in done.stdout.splitlines():
        message = json.loads(line)
        if message.get("reason") == "compiler-message" and message["message"]["level"] == "error":
            error = message["message"]
            named = {in_source(span)["file_name"] for span in error["spans"] if span["is_primary"]}
            if named:
                errors.append((error["rendered"], named, suggestions(error)))
    if done.returncode != 0 and not errors:
        fail(f"cargo check failed without naming a file:\n{done.stderr}")
    return errors


def suggestions(error):
    """What the compiler proposes for a match that is not complete: edits of (file, start, end, text)."""
    if (error.get("code") or {}).get("code") != "E0004":
        return []
    spans = [span for child in error["children"] for span in child["spans"] if span.get("suggested_replacement")]
    # It writes paths from the crate's root; where an enum is matched it is in scope.
    short = [re.sub(r"(\w+::)+(\w+::\w+ =>)", r"\2", span["suggested_replacement"]) for span in spans]
    return [
        (span["file_name"], span["byte_start"], span["byte_end"], text)
        for span, text in zip(spans, short)
        if not span.get("expansion")
    ]


def apply(edits):
    """Edits by position, the last of a file first."""
    for file, start, end, text in sorted(set(edits), reverse=True):
        source = read(file).encode()
        write(file, (source[:start] + text.encode() + source[end:]).decode())


def mend_until_it_compiles(exercise):
    """The files that the compiler named on the way, and the mends that are left."""
    named, mends = set(), list(exercise.mends)
    for attempt in range(12):
        errors = compile_errors()
        if attempt == 0 and bool(errors) == exercise.compiles:
            said = "\n".join(text for text, _, _ in errors)
            fail(said or "it compiles although nothing has decided what the new member means")
        if not errors:
            return named, mends
        here = set().union(*(files for _, files, _ in errors))
        named |= here
        edits = [edit for _, _, suggested in errors for edit in suggested]
        apply(edits)
        due, mends = split(mends, here)
        if not edits and not due:
            fail("nothing here mends this:\n" + "\n".join(text for text, _, _ in errors))
    fail("it does not compile after twelve mends")


def split(mends, named):
    """Makes the mends of files that were named, and returns these and the others."""
    due = [mend for mend in mends if any(covers(path, mend[0]) for path in named)]
    for mend in due:
        edit(mend)
    return due, [mend for mend in mends if mend not in due]


def failing_tests(what):
    """What these tests say that fail; nothing if none does."""
    done = subprocess.run(["cargo", "test", "--quiet", "--no-fail-fast", *what], cwd=COPY, capture_output=True, text=True, check=False)
    if "error: could not compile" in done.stderr:
        fail(f"the tests do not compile:\n{done.stderr}")
    return done.stdout + done.stderr if done.returncode != 0 else ""


def covers(path, file):
    """Whether a path of the table is this file, or a folder that holds it."""
    return file == path or (path.endswith("/") and file.startswith(path))


def named_by_tests(left, mends):
    """What of a row no failing test names; a test may name a file only once another is mended."""
    for what in TESTS:
        while left:
            said = failing_tests(what)
            told = [path for path in left if path.rstrip("/") in said]
            left = [path for path in left if path not in told]
            due, mends = split(mends, told)
            if not due:
                break
    return left


def practise(name):
    exercise = EXERCISES[name]
    row = row_of(exercise.row)
    for undo in (["checkout", "--quiet", "."], ["clean", "--quiet", "-fd"]):
        subprocess.run(["git", *undo], cwd=COPY, check=True)
    for change in exercise.first:
        edit(change)
    named, mends = mend_until_it_compiles(exercise)
    strange = sorted(file for file in named if not any(covers(path, file) for path in row))
    if strange:
        fail(f"{name}: the compiler names {strange}, which the row {exercise.row!r} lacks")
    # What was changed to begin with needs no one to name it, unless the compiler has to.
    begun = {change[0] for change in exercise.first} if exercise.compiles else set()
    left = [path for path in row if not any(covers(path, file) for file in named | begun)]
    if exercise.compiles and not left and not any(map(failing_tests, TESTS)):
        fail(f"{name}: no test says what the new member lacks")
    silent = named_by_tests(left, mends)
    if silent:
        fail(f"{name}: neither the compiler nor a failing test names {silent}")
    print(f"{name}: the compiler named {len(named)} files, failing tests {len(left)} more of the row")


for wanted in sys.argv[2:] or EXERCISES:
    practise(wanted)
