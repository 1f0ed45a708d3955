//! What the machine may lack, and what a run leaves behind.

use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::{Done, testbed_in};
use crate::lab::lab_is_possible;

/// testbed, about to run one cell into `out` below this folder.
fn one_cell(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_testbed"));
    command.current_dir(folder).env("NO_COLOR", "1");
    command.args(["run", "classic", "--trials", "1", "--filter", "nat-a=port-*", "--filter", "nat-b=port-*"]);
    command.args(["--out", "out", "--puncher", "/bin/true"]);
    command
}

fn finished(command: &mut Command) -> Done {
    Done::from(command.output().expect("testbed starts"))
}

/// Gives up every capability for the programs that are started from here on.
fn without_capabilities(command: &mut Command) {
    let drop_all = || {
        for capability in 0..64 {
            // SAFETY: this call takes numbers only; an unknown capability is refused, which is as good.
            unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) };
        }
        Ok(())
    };
    // SAFETY: between fork and exec only system calls are made.
    unsafe { command.pre_exec(drop_all) };
}

/// Hides libnftables behind an empty file, in a mount namespace of the program.
fn without_libnftables(command: &mut Command) {
    let folders = ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib"];
    let library = folders
        .map(|folder| format!("{folder}/libnftables.so.1"))
        .into_iter()
        .find(|path| Path::new(path).exists());
    let hide = move || {
        let Some(library) = &library else { return Ok(()) };
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS)?;
        let flags = nix::mount::MsFlags::MS_REC | nix::mount::MsFlags::MS_PRIVATE;
        nix::mount::mount(None::<&str>, "/", None::<&str>, flags, None::<&str>)?;
        let bind = nix::mount::MsFlags::MS_BIND;
        nix::mount::mount(Some("/dev/null"), library.as_str(), None::<&str>, bind, None::<&str>)?;
        Ok::<(), io::Error>(())
    };
    // SAFETY: between fork and exec only system calls are made, on memory that was allocated before.
    unsafe { command.pre_exec(hide) };
}

#[test]
fn a_run_without_rights_says_which_and_writes_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = one_cell(folder.path());
    without_capabilities(&mut command);
    finished(&mut command).refused(2, "testbed: cannot create a network namespace: unshare(CLONE_NEWNET): ");
    assert!(!folder.path().join("out").exists());
}

#[test]
fn a_run_without_nftables_says_how_to_get_it_and_writes_nothing() {
    if !lab_is_possible() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = one_cell(folder.path());
    without_libnftables(&mut command);
    finished(command.env("PATH", "/nowhere"))
        .refused(2, "  help: install nftables: apt-get install nftables");
    assert!(!folder.path().join("out").exists());
}

#[test]
fn a_puncher_that_is_not_there_is_refused_before_anything_is_written() {
    let folder = tempfile::tempdir().expect("a folder");
    testbed_in(folder.path(), &["run", "classic", "--out", "out", "--puncher", "/nowhere/puncher"])
        .refused(2, "testbed: cannot run the puncher \"/nowhere/puncher\": there is no such file");
    assert!(!folder.path().join("out").exists());
}

/// Waits until a condition holds, but not for ever.
fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < deadline, "waited a minute until {what}");
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

/// Whether a child has not ended yet.
fn is_alive(id: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with(['Z', 'X']))
}

#[test]
fn ctrl_c_ends_a_run_and_what_is_known_is_written() {
    if !lab_is_possible() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = Command::new(env!("CARGO_BIN_EXE_testbed"));
    let suite = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/suites/liar.toml").display().to_string();
    command.args(["run", &suite, "--trials", "100000", "--out", "out"]).current_dir(folder.path());
    // It must not outlive the test, however that ends.
    let die_with_us = || Ok(nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)?);
    // SAFETY: between fork and exec only a system call is made.
    unsafe { command.pre_exec(die_with_us) };
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("testbed starts");
    let cells = folder.path().join("out/cells");
    let kept = || std::fs::read_dir(&cells).is_ok_and(|mut cells| cells.next().is_some());
    wait_until("a trial is kept or testbed has ended", || kept() || !is_alive(child.id()));
    let id = nix::unistd::Pid::from_raw(i32::try_from(child.id()).expect("a process id"));
    nix::sys::signal::kill(id, nix::sys::signal::Signal::SIGINT).expect("it is there");
    let done = Done::from(child.wait_with_output().expect("it ends"));
    assert_eq!(done.code, 2, "{}", done.stderr);
    assert!(done.stdout.lines().any(|line| line.ends_with(", interrupted")), "{}", done.stdout);
    let text = std::fs::read_to_string(folder.path().join("out/results.json")).expect("results");
    let results: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(results["ending"], "interrupted");
    let cells = results["cells"].as_array().expect("cells");
    let trials = cells.iter().filter(|cell| cell["kind"] == "punch").map(|cell| cell["trials"].as_u64());
    assert!(trials.flatten().any(|trials| (1..100_000).contains(&trials)), "{text}");
    assert!(!folder.path().join("out/cells.jsonl").exists());
}

#[test]
fn a_folder_that_holds_files_is_not_touched() {
    if !lab_is_possible() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(folder.path().join("out")).expect("a folder");
    std::fs::write(folder.path().join("out/precious"), "1").expect("room on the disk");
    let done = finished(&mut one_cell(folder.path()));
    done.refused(
        2,
        "testbed: cannot record the run in \"out\": it already holds files\n  help: --out names a folder",
    );
    let left = std::fs::read_dir(folder.path().join("out")).expect("a folder").count();
    assert_eq!(left, 1);
}
