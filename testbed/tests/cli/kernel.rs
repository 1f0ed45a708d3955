//! The suite `kernel` through the command.

use serde_json::Value;

use super::{testbed, testbed_in};
use crate::lab::lab_is_possible;

#[test]
fn the_checks_are_a_run_like_any_other() {
    if !lab_is_possible() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let run = |arguments: &[&str]| testbed_in(folder.path(), arguments);
    let done = run(&["run", "kernel", "--out", "one"]);
    assert!(done.stdout.contains("kernel/simultaneous-open"), "{}\n{}", done.stdout, done.stderr);
    let text = std::fs::read_to_string(folder.path().join("one/results.json")).expect("results");
    let results: Value = serde_json::from_str(&text).expect("JSON");
    let cells = results["cells"].as_array().expect("cells");
    assert!(cells.len() > 20 && cells.iter().all(|cell| cell["kind"] == "kernel"), "{text}");
    assert_eq!(run(&["baseline", "update", "one", "b.toml"]).code, 0);
    let again = run(&["run", "kernel", "--out", "two", "--baseline", "b.toml"]);
    assert!(again.stdout.contains("cells compared: none changed\n"), "{}", again.stdout);
    let table = run(&["kernels", "one", "two"]);
    assert_eq!(table.stdout.lines().count(), 2 + cells.len(), "{}", table.stdout);
}

#[test]
fn options_that_mean_nothing_there_are_refused() {
    testbed(&["run", "kernel", "--trials", "3"])
        .refused(2, "testbed: cannot use --trials with the suite \"kernel\": its checks have no axes");
}

#[test]
fn a_kernel_that_is_none_is_refused_before_anything_is_installed() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/kernels");
    let folder = tempfile::tempdir().expect("a folder");
    let run = |arguments: &[&str]| {
        let mut command = std::process::Command::new("bash");
        // Without any tool beside those of the system's own folders, and without a toolchain.
        command.arg(script).args(arguments).current_dir(folder.path()).env("PATH", "/usr/bin:/bin");
        super::Done::from(command.output().expect("bash"))
    };
    for (arguments, message) in [
        (&["--image"][..], "kernels: --image needs a value; "),
        (&["-o", ""], "kernels: -o needs a value; "),
        (&["--image", "/etc/passwd"], "kernels: \"/etc/passwd\" is no kernel image: --image takes a bzImage"),
        (&["--image", "/tmp"], "kernels: \"/tmp\" is no kernel image: it is not a regular file"),
        (&["--image", "/nope"], "kernels: cannot find the image \"/nope\""),
    ] {
        run(arguments).refused(2, message);
    }
    assert!(!folder.path().join("kernel-runs").exists());
}
