//! What a program said last on standard error: the message of an exception that nobody caught, or the last line.

/// How Python, the JVM and Go begin when they tell of an exception that nobody caught.
const PYTHON: &str = "Traceback (most recent call last):";
const JVM: &str = "Exception in thread \"main\"";
const GO: &str = "panic: ";

/// How Node ends then, after the message and the stack.
const NODE: &str = "Node.js v";

/// What a program said last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LastWords<'a> {
    /// One line of it.
    pub(super) line: &'a str,
    /// Whether it tells of an exception that nobody caught.
    pub(super) uncaught: bool,
}

/// What the text of a standard error ends with; `None` where it is blank.
pub(super) fn of(stderr: &str) -> Option<LastWords<'_>> {
    let lines: Vec<&str> = stderr.lines().filter(|line| !line.trim().is_empty()).collect();
    let message = exception(&lines);
    let line = message.or_else(|| complaint(&lines))?.trim();
    Some(LastWords { line, uncaught: message.is_some() })
}

/// What a program adds to a complaint about its command line: where to read more, and how it is called.
const HINTS: [&str; 4] = ["For more information", "Try '", "Try `", "Usage: "];

/// The last line that tells something. Before a hint where to read more stands what is wrong, often marked as an error.
fn complaint<'a>(lines: &[&'a str]) -> Option<&'a str> {
    let is_hint = |line: &&&str| HINTS.iter().any(|hint| line.trim().starts_with(hint));
    let hints = lines.iter().rev().take_while(is_hint).count();
    let told = &lines[..lines.len() - hints];
    let marked = || told.iter().rfind(|line| line.starts_with("error: ")).copied();
    let found = if hints > 0 { marked().or(told.last().copied()) } else { None };
    found.or(lines.last().copied())
}

/// The line that names the exception. Its message may go on in lines that follow, and a stack may come before or after it.
fn exception<'a>(lines: &[&'a str]) -> Option<&'a str> {
    let last_that_begins = |begin: &str| lines.iter().rposition(|line| line.starts_with(begin));
    if let Some(at) = last_that_begins(PYTHON) {
        let rest = &lines[at + 1..];
        return rest.iter().find(|line| !line.starts_with(' ')).or(rest.last()).copied();
    }
    if lines.last().is_some_and(|line| line.starts_with(NODE)) {
        let stack = lines.iter().position(|line| line.trim_start().starts_with("at "));
        return stack.and_then(|at| lines[..at].last()).or(lines.iter().rev().nth(1)).copied();
    }
    last_that_begins(JVM).or_else(|| last_that_begins(GO)).map(|at| lines[at])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_that_names_the_exception_is_found() {
        for (stderr, line) in [
            (
                "x\nTraceback (most recent call last):\n  File \"x\"\n    raise V(\"a\\nb\")\nValueError: a\nb\n",
                "ValueError: a",
            ),
            (
                "node:net:1\n    throw e;\n    ^\n\nError: connect ECONNREFUSED\n    at a (b:1)\n    at c {\n  errno: -111\n}\n\nNode.js v20.1\n",
                "Error: connect ECONNREFUSED",
            ),
            (
                "panic: no port\n\ngoroutine 1 [running]:\nmain.main()\n\t/x/main.go:4 +0x1d\n",
                "panic: no port",
            ),
        ] {
            assert_eq!(of(stderr), Some(LastWords { line, uncaught: true }), "{stderr}");
        }
    }

    #[test]
    fn a_hint_where_to_read_more_is_not_what_is_wrong() {
        for (stderr, line) in [
            (
                "error: invalid value '1y' for '--deadline <TIME>': too long\n\nFor more information, try '--help'.\n",
                "error: invalid value '1y' for '--deadline <TIME>': too long",
            ),
            (
                "error: unexpected argument '--x' found\n\n  tip: a similar one exists\n\nUsage: p [OPTIONS]\n\nFor more information, try '--help'.\n",
                "error: unexpected argument '--x' found",
            ),
            (
                "p: unrecognized option '--x'\nTry 'p --help' for more information.\n",
                "p: unrecognized option '--x'",
            ),
            ("usage: p [-h]\np: error: unrecognized arguments\n", "p: error: unrecognized arguments"),
            ("For more information, try '--help'.\n", "For more information, try '--help'."),
        ] {
            assert_eq!(of(stderr), Some(LastWords { line, uncaught: false }), "{stderr}");
        }
    }

    #[test]
    fn without_an_exception_it_is_the_last_line() {
        assert_eq!(of("one\n  two \n\n"), Some(LastWords { line: "two", uncaught: false }));
        assert_eq!(of(" \n"), None);
    }
}
