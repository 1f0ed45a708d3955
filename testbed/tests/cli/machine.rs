//! What the machine may lack, and what a run leaves behind.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use super::{Done, copy_program, testbed_in};
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

/// What a user without rights of root is told: an error once, and whether --rootless helps, as it then does or does not.
#[test]
fn a_check_as_another_user_says_whether_rootless_helps() {
    if !nix::unistd::geteuid().is_root() || !lab_is_possible() {
        return;
    }
    // Which the other user can reach, wherever the tests are.
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).expect("our own folder");
    let program = folder.path().join("testbed");
    copy_program(env!("CARGO_BIN_EXE_testbed"), &program);
    let check = |option: Option<&str>| {
        let mut command = Command::new(&program);
        command.current_dir(folder.path()).env("NO_COLOR", "1").arg("check").args(option);
        command.gid(65534).uid(65534);
        finished(&mut command)
    };
    let (own, rootless) = (check(None), check(Some("--rootless")));
    let last = |done: &Done| done.stdout.lines().last().unwrap_or_default().to_owned();
    assert_eq!(own.code, 2, "{}", own.stdout);
    for said in
        ["unshare(CLONE_NEWNET): Operation not permitted (EPERM)", "help: run as root, or with --rootless"]
    {
        assert_eq!(own.stdout.matches(said).count(), 1, "{}", own.stdout);
    }
    assert!(own.stdout.contains("the same error as for network namespaces\n"), "{}", own.stdout);
    if rootless.code == 0 {
        assert_eq!(last(&own), "labs cannot be built here as this user; with --rootless they can");
        assert_eq!(last(&rootless), "labs can be built here");
    } else {
        assert_eq!(last(&own), "labs cannot be built here");
    }
}

/// Where user namespaces are forbidden, --rootless is not recommended.
#[test]
fn a_check_where_user_namespaces_are_forbidden_does_not_recommend_them() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = Command::new("/bin/sh");
    // Within a user namespace of its own, which may make no further one.
    let script =
        "echo 0 >/proc/sys/user/max_user_namespaces && exec setpriv --bounding-set=-all \"$0\" check";
    command
        .args(["-c", script, env!("CARGO_BIN_EXE_testbed")])
        .current_dir(folder.path())
        .env("NO_COLOR", "1");
    let (uid, gid) = (nix::unistd::geteuid(), nix::unistd::getegid());
    let maps = [
        ("setgroups", "deny".to_owned()),
        ("uid_map", format!("0 {uid} 1")),
        ("gid_map", format!("0 {gid} 1")),
    ]
    .map(|(file, text)| (format!("/proc/self/{file}"), text));
    let enter = move || {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWUSER)?;
        maps.iter().try_for_each(|(file, text)| std::fs::write(file, text))
    };
    // SAFETY: between fork and exec only system calls are made, but for file names in memory of the child.
    unsafe { command.pre_exec(enter) };
    if !lab_is_possible() {
        return;
    }
    let done = finished(&mut command);
    assert_eq!(
        (done.code, done.stdout.lines().last()),
        (2, Some("labs cannot be built here")),
        "{}",
        done.stderr
    );
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

/// Puts a small file system of its own over a folder, for the program and those that it starts.
fn with_small_disk(command: &mut Command, folder: &Path, size: &str) {
    let (folder, size) = (folder.to_owned(), format!("size={size}"));
    let mount = move || {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS)?;
        let flags = nix::mount::MsFlags::MS_REC | nix::mount::MsFlags::MS_PRIVATE;
        nix::mount::mount(None::<&str>, "/", None::<&str>, flags, None::<&str>)?;
        let none = nix::mount::MsFlags::empty();
        nix::mount::mount(Some("tmpfs"), &folder, Some("tmpfs"), none, Some(size.as_str()))?;
        Ok::<(), io::Error>(())
    };
    // SAFETY: between fork and exec only system calls are made, on memory that was allocated before.
    unsafe { command.pre_exec(mount) };
}

#[test]
fn on_a_full_disk_the_packets_give_way_to_the_results() {
    if !lab_is_possible() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let run = |size: &str| {
        let small = folder.path().join("small");
        std::fs::create_dir_all(&small).expect("room on the disk");
        let mut command = Command::new("/bin/sh");
        let script = "\"$0\" run classic --nat-a port-preserving --nat-b port-preserving --trials 40 --keep all \
                      --puncher /bin/false --out small/r; echo \"code $?\"; \"$0\" report small/r --format csv; \
                      ls small/r; du -s small/r/cells";
        command.current_dir(folder.path()).args(["-c", script, env!("CARGO_BIN_EXE_testbed")]);
        with_small_disk(&mut command, &small, size);
        finished(&mut command)
    };
    let done = run("400k");
    let lost = done.stderr.split("; lost: ").nth(1).unwrap_or_default();
    assert!(
        lost.starts_with("the packets and logs of ") && !lost.contains("results.json"),
        "{}",
        done.stderr
    );
    assert!(done.stderr.contains("No space left on device (ENOSPC)"), "{}", done.stderr);
    assert!(done.stdout.contains("code 2\n") && done.stdout.contains("results.json\n"), "{}", done.stdout);
    assert!(done.stdout.contains("port-preserving/port-preserving/"), "{}", done.stdout);
    // Without room for anything nothing is promised, and nothing is left that would pass for an interrupted run.
    let done = run("4k");
    let kept = |name: &str| done.stdout.lines().any(|line| line == name);
    let said = if kept("summary.md") { "only summary.md in \"small/r\" is" } else { "nothing is" };
    assert!(done.stderr.contains(&format!("{said} kept of this run: run it again")), "{}", done.stderr);
    assert!(done.stdout.starts_with("classic  ") && done.stdout.contains("code 2\n"), "{}", done.stdout);
    assert!(!kept("cells.jsonl") && done.stderr.contains("cannot read \"small/r"), "{}", done.stderr);
}

#[test]
fn parts_that_cannot_be_joined_on_a_full_disk_are_joined_again_and_not_run_again() {
    if !lab_is_possible() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    for (shard, out) in [("1/2", "one"), ("2/2", "two")] {
        let run = ["run", "classic", "--nat-a", "port-preserving,random", "--nat-b", "port-preserving"];
        let rest =
            ["--trials", "1", "--keep", "none", "--puncher", "/bin/false", "--shard", shard, "--out", out];
        testbed_in(folder.path(), &[&run[..], &rest[..]].concat());
        assert!(folder.path().join(out).join("results.json").is_file());
    }
    let small = folder.path().join("small");
    std::fs::create_dir_all(&small).expect("room on the disk");
    let mut command = Command::new("/bin/sh");
    let script = "\"$0\" merge one two --out small/r; echo \"code $?\"; ls -A small/r";
    command.current_dir(folder.path()).args(["-c", script, env!("CARGO_BIN_EXE_testbed")]);
    with_small_disk(&mut command, &small, "4k");
    let done = finished(&mut command);
    let (told, names) = (&done.stderr, done.stdout.split("code 2\n").nth(1).unwrap_or("no code 2"));
    assert!(told.contains("its parts are unchanged: merge them again where there is room"), "{told}");
    assert!(!told.contains("--keep none"), "{told}");
    assert!(!names.contains("cells") && !names.contains("no code 2"), "{}", done.stdout);
    for name in names.lines() {
        assert!(told.contains(&format!("{name} in \"small/r\" is kept")), "{name}: {told}");
    }
}

#[test]
fn without_memory_the_command_says_so() {
    const LIMIT: u64 = 400 << 20;
    let folder = tempfile::tempdir().expect("a folder");
    // It can be read, but each line takes the parser another two dozen bytes.
    std::fs::write(folder.path().join("huge.toml"), "\n".repeat(16 << 20)).expect("room on the disk");
    let mut command = Command::new(env!("CARGO_BIN_EXE_testbed"));
    command.current_dir(folder.path()).args(["run", "huge.toml", "--out", "out"]);
    let limited = || {
        nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_AS, LIMIT, LIMIT)?;
        Ok::<(), io::Error>(())
    };
    // SAFETY: between fork and exec only a system call is made.
    unsafe { command.pre_exec(limited) };
    finished(&mut command).refused(2, "testbed: cannot allocate memory: ");
    assert!(!folder.path().join("out").exists());
}

/// Lets the program have no more open files than that.
fn with_files(command: &mut Command, most: u64) {
    let limited = move || {
        let files = nix::sys::resource::Resource::RLIMIT_NOFILE;
        nix::sys::resource::setrlimit(files, most, most)?;
        Ok::<(), io::Error>(())
    };
    // SAFETY: between fork and exec only a system call is made.
    unsafe { command.pre_exec(limited) };
}

/// Whether a process that has had its limit lowered can raise it again; then there is nothing to be short of.
fn limits_can_be_raised() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").expect("a status");
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:")).expect("capabilities");
    let capabilities = u64::from_str_radix(line.trim(), 16).expect("a mask");
    const CAP_SYS_RESOURCE: u64 = 24;
    capabilities & (1 << CAP_SYS_RESOURCE) != 0
}

#[test]
fn too_few_descriptors_for_a_trial_are_named_and_nothing_is_written() {
    if !lab_is_possible() || limits_can_be_raised() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    for most in [64, 80] {
        let mut command = one_cell(folder.path());
        with_files(&mut command, most);
        finished(&mut command).refused(
            2,
            &format!("cannot run a single trial: the limit of open files (ulimit -n) is {most}, "),
        );
    }
    assert!(!folder.path().join("out").exists());
}

#[test]
fn too_few_descriptors_for_a_program_are_an_error_of_the_cell() {
    if !lab_is_possible() || limits_can_be_raised() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = one_cell(folder.path());
    with_files(&mut command, 400);
    let done = finished(&mut command);
    assert_eq!(done.code, 2, "{}", done.stderr);
    let needs = "the hard limit of open files (ulimit -Hn) is 400, and each program needs 1344";
    assert!(done.stdout.contains(needs), "{}", done.stdout);
    assert!(!done.stdout.contains("differs"), "{}", done.stdout);
}

#[test]
fn a_check_says_how_many_trials_fit_and_how_long_a_suite_takes() {
    let done = super::testbed(&["check", "classic", "--trials", "5"]);
    let line = done.stdout.lines().last().unwrap_or_default();
    assert!(line.starts_with("the suite classic: 9 cells, 45 trials; "), "{}{}", done.stdout, done.stderr);
    // No more than there are can run at a time.
    let (_, with) = line.split_once(". With ").expect("how many at a time");
    let at_a_time: u32 = with.split(' ').next().and_then(|number| number.parse().ok()).expect("a number");
    assert!((1..=45).contains(&at_a_time) && line.contains(" could run at the same time. With "), "{line}");
    let mut narrow = Command::new(env!("CARGO_BIN_EXE_testbed"));
    let narrow = finished(narrow.args(["check", "classic"]).env("COLUMNS", "40").env("NO_COLOR", "1"));
    let (_, lines) = narrow.stdout.split_once("the suite classic: ").expect("its lines");
    assert!(lines.lines().count() > 2 && lines.lines().all(|line| line.chars().count() <= 40), "{lines}");
    super::testbed(&["check", "clasic"]).refused(2, "unknown suite \"clasic\"");
}

#[test]
fn a_puncher_that_is_not_there_is_refused_before_anything_is_written() {
    let folder = tempfile::tempdir().expect("a folder");
    testbed_in(folder.path(), &["run", "classic", "--out", "out", "--puncher", "/nowhere/puncher"])
        .refused(2, "testbed: cannot run the puncher \"/nowhere/puncher\": there is no such file");
    assert!(!folder.path().join("out").exists());
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
        "testbed: cannot record the run in \"out\": it already holds files\n  help: name a folder",
    );
    let left = std::fs::read_dir(folder.path().join("out")).expect("a folder").count();
    assert_eq!(left, 1);
}
