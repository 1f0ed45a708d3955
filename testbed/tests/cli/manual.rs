//! Completions and manual pages: of every command that `--help` names.

use super::{testbed, testbed_in};

/// The commands that the help text lists.
fn commands() -> Vec<String> {
    let help = testbed(&["--help"]).stdout;
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    // What goes on in a second line is indented further.
    let first = |line: &&str| line.starts_with("  ") && !line.starts_with("   ");
    let lines = listed.take_while(|line| !line.is_empty()).filter(first);
    let names = lines.filter_map(|line| line.split_whitespace().next());
    let names: Vec<String> = names.filter(|name| *name != "help").map(str::to_owned).collect();
    assert!(names.contains(&"run".to_owned()) && names.len() > 10, "{names:?}");
    names
}

#[test]
fn each_shell_completes_every_command() {
    for shell in ["bash", "zsh", "fish"] {
        let done = testbed(&["completions", shell]);
        assert_eq!((done.code, done.stderr.as_str()), (0, ""), "{shell}");
        let missing: Vec<String> =
            commands().into_iter().filter(|name| !done.stdout.contains(name.as_str())).collect();
        assert!(missing.is_empty(), "{shell} completes no {missing:?}");
    }
    testbed(&["completions", "abacus"]).refused(2, "invalid value 'abacus'");
}

#[test]
fn every_command_has_a_manual_page() {
    let folder = tempfile::tempdir().expect("a folder");
    let done = testbed_in(folder.path(), &["man", "."]);
    assert_eq!((done.code, done.stdout.as_str(), done.stderr.as_str()), (0, "", ""));
    for name in commands() {
        let page = folder.path().join(format!("testbed-{name}.1"));
        let text = std::fs::read_to_string(&page).unwrap_or_else(|why| panic!("{}: {why}", page.display()));
        assert!(text.contains(".SH SYNOPSIS"), "{name}: {text}");
    }
}

/// Words of the code that no user knows, and what is said where there is no run.
#[test]
fn help_uses_no_word_that_it_does_not_explain() {
    // Wherever its lines are broken.
    let help = |command: &str| {
        let done = testbed(&command.split(' ').chain(["--help"]).collect::<Vec<_>>());
        assert_eq!(done.code, 0, "{command}: {}", done.stderr);
        done.stdout.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let below = ["nat list", "nat show", "nat prove", "nat measure", "baseline update"].map(str::to_owned);
    for command in commands().into_iter().chain(below) {
        for word in ["wire", "urgent", " trip", "catalogue", "profile"] {
            assert!(!help(&command).to_lowercase().contains(word), "{command}: {word}");
        }
    }
    assert!(help("run").contains("Another build of puncher"));
    assert!(help("exec").contains("testbed shell SUITE list"));
}

#[test]
fn manual_pages_go_only_where_a_folder_is() {
    testbed(&["man", "nowhere"]).refused(2, "cannot write manual pages to \"nowhere\"");
}
