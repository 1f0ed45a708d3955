//! What a user sees on terminals of several sizes, on poor ones, and on none.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::{Done, testbed, testbed_in};
use crate::lab::has_tool;

/// A run of 22 NATs a side in a folder `run`. It is made up: only how it is shown matters here.
fn large_run() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/accept.d/people/made_up_results.py");
    let mut command = Command::new("python3");
    let done = command.arg(script).arg(folder.path().join("run")).args(["22", "1"]).output();
    let done = done.expect("python3 starts");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    folder
}

/// Runs testbed with these variables and no others but `PATH`, without a terminal.
fn with_variables(folder: &Path, variables: &[(&str, &str)], arguments: &[&str]) -> Done {
    let mut command = Command::new(env!("CARGO_BIN_EXE_testbed"));
    let variables: BTreeMap<&str, &str> = variables.iter().copied().collect();
    command.args(arguments).current_dir(folder).env_clear().envs(variables);
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    Done::from(command.output().expect("testbed starts"))
}

/// A terminal of its own, which ends with this value.
struct Tmux {
    socket: PathBuf,
    _folder: TempDir,
}

impl Tmux {
    /// Opens one of that size and runs testbed in it.
    fn run(size: (usize, usize), variables: &[&str], folder: &Path, arguments: &str) -> Self {
        let own = tempfile::tempdir().expect("a folder");
        let tmux = Self { socket: own.path().join("socket"), _folder: own };
        let program = env!("CARGO_BIN_EXE_testbed");
        let line = format!("{} '{program}' {arguments}; echo \"ended: $?\"; sleep 600", variables.join(" "));
        let (columns, rows) = (size.0.to_string(), size.1.to_string());
        let mut command = tmux.command();
        command.args(["-f", "/dev/null", "start-server", ";", "set", "-g", "history-limit", "9000", ";"]);
        command.args(["new-session", "-d", "-x", &columns, "-y", &rows, "-c"]).arg(folder).arg(line);
        let done = command.env("SHELL", "/bin/sh").output().expect("tmux starts");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        tmux
    }

    fn command(&self) -> Command {
        let mut command = Command::new("tmux");
        command.arg("-S").arg(&self.socket).env("LC_ALL", "C.UTF-8");
        command
    }

    /// All that was shown, once the program has ended; `-e` among the options keeps colours. tmux is asked again and again: its
    /// hook for the end of a program is lost at times when the machine is busy.
    fn transcript(self, options: &[&str]) -> String {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let shown = self.command().args(["capture-pane", "-p", "-S", "-"]).args(options).output();
            let text = String::from_utf8(shown.expect("tmux starts").stdout).expect("text");
            if text.contains("ended: ") {
                return text;
            }
            assert!(Instant::now() < deadline, "testbed did not end: {text}");
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        let _ = self.command().arg("kill-server").output();
    }
}

/// Columns that a line takes; nothing here is wider than one.
fn columns(line: &str) -> usize {
    line.chars().count()
}

#[test]
fn twenty_two_nats_a_side_fit_every_terminal() {
    if !has_tool("tmux") || !has_tool("python3") {
        return;
    }
    let folder = large_run();
    for (width, height) in [(80, 24), (120, 40), (200, 50)] {
        let tmux = Tmux::run((width, height), &["LC_ALL=C.UTF-8", "TERM=xterm"], folder.path(), "report run");
        let text = tmux.transcript(&[]);
        // A line that is too long would go on in the next one, and its name would not stand in its column.
        let rows = text.lines().filter(|line| line.trim_start().starts_with("22 none  ")).count();
        assert_eq!(rows, 1, "{width}: {text}");
        let row = text.lines().find(|line| line.trim_start().starts_with("22 none  ")).expect("the last row");
        let cells = row.chars().filter(|c| "●◐·!?*E".contains(*c)).count();
        assert_eq!(cells, 22, "{width}: {row}");
        assert!(text.lines().all(|line| columns(line) <= width), "{width}: {text}");
        let screen: Vec<&str> = text.trim_end().lines().rev().take(height).collect();
        for needed in ["worst ", "cause ", "cells: "] {
            assert!(screen.iter().any(|line| line.contains(needed)), "{width}: {needed}: {text}");
        }
    }
}

#[test]
fn poor_terminals_get_neither_colours_nor_signs_they_cannot_show() {
    if !has_tool("tmux") || !has_tool("python3") {
        return;
    }
    let folder = large_run();
    for (variables, colours, ascii) in [
        (&["LC_ALL=C.UTF-8", "TERM=xterm-256color"][..], true, false),
        (&["LC_ALL=C.UTF-8", "TERM=xterm-256color", "NO_COLOR=1"], false, false),
        (&["LC_ALL=C.UTF-8", "TERM=dumb"], false, true),
        (&["LC_ALL=C.UTF-8", "TERM=dumb", "CI=true"], false, true),
        (&["LC_ALL=C", "TERM=xterm-256color"], true, true),
    ] {
        let tmux = Tmux::run((80, 24), variables, folder.path(), "report run");
        let text = tmux.transcript(&["-e"]);
        assert_eq!(text.contains('\u{1b}'), colours, "{variables:?}: {text}");
        assert_eq!(text.is_ascii(), ascii, "{variables:?}: {text}");
        assert_eq!(text.contains('●'), !ascii, "{variables:?}: {text}");
    }
}

#[test]
fn without_a_terminal_there_are_no_colours_and_the_usual_columns() {
    if !has_tool("python3") {
        return;
    }
    let folder = large_run();
    let utf8 = ("LANG", "en_GB.UTF-8");
    let usual = with_variables(folder.path(), &[utf8], &["report", "run"]);
    assert!(usual.stdout.contains('●') && !usual.stdout.contains('\u{1b}'), "{}", usual.stdout);
    assert!(usual.stdout.lines().all(|line| columns(line) <= 100), "{}", usual.stdout);
    let told = with_variables(folder.path(), &[utf8, ("COLUMNS", "200")], &["report", "run"]);
    assert!(told.stdout.lines().any(|line| columns(line) > 150), "{}", told.stdout);
    let plain = with_variables(folder.path(), &[("LC_ALL", "C")], &["report", "run"]);
    assert!(plain.stdout.is_ascii() && plain.stdout.contains(" + "), "{}", plain.stdout);
    // What programs read is the same everywhere.
    for format in ["json", "csv", "html", "svg"] {
        let data =
            |variables| with_variables(folder.path(), variables, &["report", "run", "--format", format]);
        assert_eq!(data(&[("LC_ALL", "C")]).stdout, data(&[utf8]).stdout, "{format}");
    }
}

#[test]
fn quiet_and_verbose_tell_less_and_more() {
    if !has_tool("python3") {
        return;
    }
    let folder = large_run();
    let report = |option: &[&str]| testbed_in(folder.path(), &[&["report", "run"], option].concat()).stdout;
    let (quiet, usual, verbose) = (report(&["-q"]), report(&[]), report(&["-v"]));
    // What goes on in a further line begins with spaces.
    let told = quiet.lines().filter(|line| !line.is_empty() && !line.starts_with(' ')).count();
    assert!(told < 8 && quiet.contains("484 cells: "), "{quiet}");
    assert!(usual.contains("more: -v names them") && !verbose.contains("more: -v"), "{verbose}");
    assert!(verbose.lines().count() > usual.lines().count());
}

#[test]
fn a_report_of_something_that_has_no_end_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    super::make_pipe(&folder.path().join("pipe"));
    testbed_in(folder.path(), &["report", "pipe"])
        .refused(2, "cannot read \"pipe\": it is not a regular file");
    testbed(&["report", "/dev/zero"]).refused(2, "cannot read \"/dev/zero\": it is not a regular file");
}

#[test]
fn what_was_as_expected_is_not_run_again() {
    if !has_tool("python3") {
        return;
    }
    let folder = large_run();
    testbed_in(folder.path(), &["run", "classic", "--rerun", "run"]).refused(
        2,
        "cannot run again what was not as expected in \"run\": it is of the suite \"full\", not of \"classic\"",
    );
    testbed_in(folder.path(), &["run", "classic", "matrix", "--rerun", "run"])
        .refused(2, "cannot use --rerun with several suites");
    let good = fs::read_to_string(folder.path().join("run/results.json")).expect("results");
    let mut good: serde_json::Value = serde_json::from_str(&good).expect("JSON");
    good["cells"] = serde_json::Value::Array(Vec::new());
    for (_, count) in good["totals"].as_object_mut().expect("totals") {
        *count = 0.into();
    }
    fs::write(folder.path().join("good.json"), good.to_string()).expect("room on the disk");
    testbed_in(folder.path(), &["run", "full", "--rerun", "good.json"])
        .refused(4, "nothing to run: every cell of \"good.json\" that is asked for was as expected");
}
