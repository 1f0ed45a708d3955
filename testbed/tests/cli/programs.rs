//! Programs in the place of puncher: good ones that are not ours, and every kind of bad one.

use std::path::Path;

use serde_json::Value;

use super::{Done, copy_program, testbed_in};
use crate::lab::{lab_is_possible, possible};

/// What a run said, and its results.
struct Ran {
    done: Done,
    results: Value,
}

/// Runs a suite of one cell, three trials, with these keys of `[program]`, of programs that end by themselves.
fn run(program: &str) -> Ran {
    run_until("20s", program)
}

/// The same of programs that have so long.
fn run_until(deadline: &str, program: &str) -> Ran {
    run_suite(&format!("topology = \"pair\"\ndeadline = \"{deadline}\""), &format!("[program]\n{program}"))
}

/// Two peers, and a host on the core that is neither's.
const WITH_RELAY: &str = r#"name = "with-relay"
summary = "two peers, and a relay"
[node]
core = { kind = "router" }
relay = { kind = "host", up = "core" }
nat-a = { kind = "nat", up = "core", wire = { delay = "5ms" } }
nat-b = { kind = "nat", up = "core", wire = { delay = "5ms" } }
peer-a = { kind = "host", up = "nat-a" }
peer-b = { kind = "host", up = "nat-b" }
"#;

/// Runs a suite of one cell, three trials, with these keys of the suite and these tables.
fn run_suite(keys: &str, tables: &str) -> Ran {
    let folder = tempfile::tempdir().expect("a folder");
    let method = if tables.is_empty() { "simultaneous-open" } else { "theirs" };
    let suite = format!(
        "name = \"one\"\nsummary = \"one cell\"\ntrials = 3\n{keys}\n\n[axes]\n\
         nat-a = [\"port-preserving\"]\nnat-b = [\"port-preserving\"]\nmethod = [\"{method}\"]\n\n{tables}\n"
    );
    std::fs::write(folder.path().join("one.toml"), suite).expect("room on the disk");
    std::fs::write(folder.path().join("with-relay.toml"), WITH_RELAY).expect("room on the disk");
    // Programs do not see the folder that leads back to the suite's.
    std::fs::create_dir(folder.path().join("elsewhere")).expect("room on the disk");
    let done = testbed_in(folder.path(), &["run", "elsewhere/../one.toml", "--out", "out"]);
    let text = std::fs::read_to_string(folder.path().join("out/results.json"));
    let text = text.unwrap_or_else(|why| panic!("no results: {why}\n{}", done.stderr));
    Ran { done, results: serde_json::from_str(&text).expect("JSON") }
}

impl Ran {
    /// The only cell in which punching was tried.
    fn cell(&self) -> &Value {
        let cells = self.results["cells"].as_array().expect("cells");
        cells.iter().find(|cell| cell["kind"] == "punch").expect("a cell")
    }

    /// Asserts that every trial was an error, and that its reason and the exit code say so.
    #[track_caller]
    fn is_an_error(&self, because: &str) {
        self.is_an_error_after(3, because);
    }

    /// Asserts that the cell is an error for this reason, and that no trial was begun.
    #[track_caller]
    fn is_not_run(&self, because: &str) {
        self.is_an_error_after(0, because);
    }

    #[track_caller]
    fn is_an_error_after(&self, trials: u32, because: &str) {
        let cell = self.cell();
        let seen = (&cell["verdict"], &cell["error"], &cell["trials"]);
        assert_eq!(seen, (&"error".into(), &trials.into(), &trials.into()), "{cell}");
        let note = cell["note"].as_str().expect("a note");
        assert!(note.contains(because), "expected {because}\nobserved {note}");
        // A terminal breaks lines.
        let said: Vec<&str> = self.done.stdout.split_whitespace().collect();
        assert!(said.join(" ").contains(because), "{}", self.done.stdout);
        assert_eq!(self.done.code, 2, "{}", self.done.stderr);
    }

    /// Asserts that every trial failed for this cause; theory knows nothing of the method, and that is said.
    #[track_caller]
    fn failed(&self, cause: &str) {
        let cell = self.cell();
        assert_eq!((&cell["failed"], &cell["causes"][cause]), (&3.into(), &3.into()), "{cell}");
        self.has_no_expectation();
    }

    /// Asserts that the cell has no expectation, and that the exit code and the last lines say so.
    #[track_caller]
    fn has_no_expectation(&self) {
        let (cell, stdout) = (self.cell(), &self.done.stdout);
        assert_eq!((&cell["verdict"], self.done.code), (&"no_expectation".into(), 3), "{cell}\n{stdout}");
        for said in
            ["1 cell has no expectation", "too few trials to support", "--allow no-expectation accepts this"]
        {
            assert!(stdout.contains(said), "{said}: {stdout}");
        }
    }
}

/// The command of a plain puncher, as a shell has it.
fn plain_puncher() -> String {
    let script = program("plain_puncher.py");
    format!("/usr/bin/python3 {script} {{local_ip}} {{local_port}} {{peer_ip}} {{peer_port}} {{start_in_ms}}")
}

/// `peer = […]` of a line of shell.
fn shell(line: &str) -> String {
    format!("peer = [\"/bin/sh\", \"-c\", '{line}']\nfiles = [\"{}\"]", program("."))
}

/// The path of a program of the tests.
fn program(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs").join(name).display().to_string()
}

#[test]
fn a_program_in_another_language_that_prints_nothing_passes_by_its_exit_code() {
    if !lab_is_possible() {
        return;
    }
    let script = program("plain_puncher.py");
    let ran = run(&format!(
        "judge = \"exit\"\npeer = [\"/usr/bin/python3\", \"{script}\", \"{{local_ip}}\", \"{{local_port}}\", \
         \"{{peer_ip}}\", \"{{peer_port}}\", \"{{start_in_ms}}\"]"
    ));
    let cell = ran.cell();
    assert_eq!(cell["passed"], 3, "{cell}\n{}", ran.done.stdout);
    ran.has_no_expectation();
}

#[test]
fn the_ten_lines_of_the_contract_are_a_puncher() {
    if !lab_is_possible() {
        return;
    }
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/puncher-contract.md");
    let page = std::fs::read_to_string(page).expect("the contract");
    let (_, code) = page.split_once("```python\n").expect("a program in Python");
    let (code, _) = code.split_once("```").expect("its end");
    assert!(code.lines().count() <= 10, "{code}");
    let folder = tempfile::tempdir().expect("a folder");
    let script = folder.path().join("puncher.py");
    std::fs::write(&script, code).expect("room on the disk");
    let (_, keys) = page.split_once("```toml\n[program]\njudge = \"exit\"\n").expect("its keys");
    let (keys, _) = keys.split_once("```").expect("their end");
    let keys = keys.replace("{suite_dir}/puncher.py", &script.display().to_string());
    let ran = run(&format!("judge = \"exit\"\n{keys}"));
    assert_eq!(ran.cell()["passed"], 3, "{}\n{}", ran.cell(), ran.done.stdout);
}

#[test]
fn a_result_that_names_no_connection_is_judged_from_the_wire() {
    if !lab_is_possible() {
        return;
    }
    let line = r#"{{"event":"result","ok":true,"method":"theirs"}}"#;
    let ran = run(&shell(&format!("{} && echo \"{}\"", plain_puncher(), line.replace('"', "\\\""))));
    assert_eq!(ran.cell()["passed"], 3, "{}\n{}", ran.cell(), ran.done.stdout);
    run(&format!("peer = [\"/bin/echo\", '{line}']")).is_an_error("no evidence");
}

#[test]
fn a_program_that_stays_is_ended_when_it_has_lingered() {
    if !lab_is_possible() {
        return;
    }
    let began = std::time::Instant::now();
    let stays = shell(&format!("{} && echo connected && exec sleep 600", plain_puncher()));
    let ran = run_until("60s", &format!("judge = {{ stdout = \"connected\" }}\nlinger = \"100ms\"\n{stays}"));
    assert_eq!(ran.cell()["passed"], 3, "{}\n{}", ran.cell(), ran.done.stdout);
    assert!(began.elapsed().as_secs() < 50, "it waited for the deadline");
}

#[test]
fn a_peer_reads_its_standard_input() {
    if !lab_is_possible() {
        return;
    }
    let line = format!("test \"$(cat)\" = \"I am {{role}}\" && exec {}", plain_puncher());
    let ran = run(&format!("judge = \"exit\"\nstdin = \"I am {{role}}\\n\"\n{}", shell(&line)));
    assert_eq!(ran.cell()["passed"], 3, "{}\n{}", ran.cell(), ran.done.stdout);
    // An input that does not end keeps whoever reads it.
    let waits = "judge = \"exit\"\nstdin = { text = \"x\", then = \"wait\" }\npeer = [\"/bin/cat\"]";
    run_until("700ms", waits).failed("peer never started");
}

#[test]
fn programs_that_start_slowly_are_told_a_later_begin() {
    if !lab_is_possible() {
        return;
    }
    // Far above the 150 ms of a suite that says nothing, and below what a busy machine leaves of a second.
    let told = shell(&format!("test {{start_in_ms}} -gt 500 && {}", plain_puncher()));
    assert_eq!(run(&format!("judge = \"exit\"\nstart = \"1s\"\n{told}")).cell()["passed"], 3);
}

#[test]
fn services_run_beside_the_peers() {
    if !lab_is_possible() {
        return;
    }
    let script = program("with_services.py");
    let service = |name: &str, node: &str, rest: &str| {
        format!("[[program.services]]\nname = \"{name}\"\nnode = \"{node}\"\n{rest}\n")
    };
    let command = |what: &str, node: &str| {
        format!("command = [\"/usr/bin/python3\", \"{script}\", \"{what}\", \"{{ip:{node}}}\"]")
    };
    let good = format!(
        "[program]\njudge = \"exit\"\n{}\n{}{}",
        shell(&format!("/usr/bin/python3 {script} ask {{ip:relay}} {{ip:core}} && {}", plain_puncher())),
        service("stun", "relay", &format!("{}\nready = {{ udp = 3478 }}", command("udp", "relay"))),
        service("turn", "core", &format!("{}\nready = {{ stdout = \"ready\" }}", command("tcp", "core"))),
    );
    let ran = run_suite("topology = \"./with-relay.toml\"", &good);
    assert_eq!(ran.cell()["passed"], 3, "{}\n{}", ran.cell(), ran.done.stdout);
    let broken = service("stun", "relay", "command = [\"/bin/false\"]\nready = { udp = 3478 }");
    run_suite("topology = \"./with-relay.toml\"", &format!("[program]\n{}\n{broken}", shell("true")))
        .is_an_error("it ended and did not open UDP port 3478");
}

#[test]
fn programs_see_the_addresses_that_the_suite_wants() {
    if !lab_is_possible() {
        return;
    }
    for (addresses, peers, server) in [
        ("\"public\"", "20.0.*", "20.255.0.1"),
        ("\"carrier\"", "100.64.*", "203.0.113.1"),
        ("{ public = [\"5.6.0.0/16\"], rendezvous = [\"5.7.0.1\", \"5.7.0.2\"] }", "5.6.*", "5.7.0.1"),
    ] {
        let line = format!(
            "case {{peer_ip}}/{{rendezvous_ip}} in {peers}/{server}) exec {};; esac; exit 1",
            plain_puncher()
        );
        let keys = format!("topology = \"pair\"\naddresses = {addresses}");
        let ran = run_suite(&keys, &format!("[program]\njudge = \"exit\"\n{}", shell(&line)));
        assert_eq!(ran.cell()["passed"], 3, "{addresses}: {}\n{}", ran.cell(), ran.done.stdout);
        let own = run_suite(&keys, "");
        assert_eq!(own.cell()["passed"], 3, "{addresses}: {}\n{}", own.cell(), own.done.stdout);
    }
}

/// A root file system with nothing but a static program, a script, and a program for another machine.
fn small_root() -> Option<tempfile::TempDir> {
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    let busybox = ["/bin/busybox", "/usr/bin/busybox"].into_iter().find(|path| Path::new(path).is_file());
    let Some(busybox) = busybox else {
        let _ = possible::<(), _>(Err("busybox is not installed"));
        return None;
    };
    let root = tempfile::tempdir().expect("a folder");
    let at = |path: &str| root.path().join(path);
    std::fs::create_dir_all(at("usr/bin")).expect("room on the disk");
    std::fs::create_dir_all(at("etc")).expect("room on the disk");
    symlink("usr/bin", at("bin")).expect("a link");
    copy_program(busybox, &at("usr/bin/busybox"));
    symlink("busybox", at("usr/bin/sh")).expect("a link");
    std::fs::write(at("etc/issue"), "image\n").expect("room on the disk");
    std::fs::write(at("usr/bin/script"), "#!/usr/bin/python3\n").expect("room on the disk");
    let mut other = std::fs::read(at("usr/bin/busybox")).expect("a program");
    other[18..20].copy_from_slice(&243_u16.to_le_bytes());
    std::fs::write(at("usr/bin/other"), other).expect("room on the disk");
    for path in [".", "usr", "usr/bin", "etc", "usr/bin/script", "usr/bin/other"] {
        std::fs::set_permissions(at(path), std::fs::Permissions::from_mode(0o755)).expect("our own");
    }
    Some(root)
}

#[test]
fn programs_may_have_a_root_file_system_of_their_own() {
    if !lab_is_possible() {
        return;
    }
    let Some(root) = small_root() else { return };
    let with = |rest: &str| run(&format!("judge = \"exit\"\nroot = \"{}\"\n{rest}", root.path().display()));
    let line = |line: &str| format!("peer = [\"sh\", \"-c\", '{line}']");
    // It sees the image's files and none of the machine's, and `/tmp`, `/proc` and `/dev` as always.
    let looks = "test $(busybox cat /etc/issue) = image && ! busybox test -e /etc/passwd && busybox test -d /proc/self && \
                 busybox test -w /tmp/work && busybox test -c /dev/null";
    with(&line(looks)).is_an_error("no evidence");
    with("peer = [\"/usr/bin/script\"]").is_not_run("it needs /usr/bin/python3, and ");
    with("peer = [\"/bin/other\"]").is_not_run("it is made for riscv, and this machine is ");
    with("peer = [\"/bin/none\"]").is_not_run("has no /bin/none");
    with("peer = [\"none\"]").is_not_run("has no such program in its PATH");
    // A file of the machine's is seen at its own path, though the image has no such folder.
    let folder = tempfile::tempdir_in("/var/lib").expect("a folder");
    std::fs::write(folder.path().join("file"), "seen\n").expect("room on the disk");
    let file = folder.path().join("file").display().to_string();
    with(&format!("files = [\"{file}\"]\n{}", line(&format!("test $(busybox cat {file}) = seen"))))
        .is_an_error("no evidence");
}

#[test]
fn a_program_that_claims_a_success_that_did_not_happen() {
    if !lab_is_possible() {
        return;
    }
    let line = r#"{{"event":"result","ok":true,"local":"{local_ip}:{local_port}","remote":"{peer_ip}:{peer_port}","method":"lie"}}"#;
    run(&format!("peer = [\"/bin/echo\", '{line}']")).is_an_error("no evidence");
    run("judge = \"exit\"\npeer = [\"/bin/true\"]").is_an_error("no evidence");
    run("judge = { stdout = \"connected\" }\npeer = [\"/bin/echo\", \"connected\"]")
        .is_an_error("no evidence");
}

#[test]
fn a_program_that_is_not_there() {
    if !lab_is_possible() {
        return;
    }
    for (program, why) in [
        ("/nowhere/puncher", "there is no such file"),
        ("no-such-program-here", "no folder of PATH has it"),
        ("/etc/passwd", "programs may not execute it (mode 644): chmod a+rx"),
    ] {
        let whole = format!("cannot execute the program \"{program}\": {why}");
        run(&format!("peer = [\"{program}\"]")).is_not_run(&whole);
    }
}

#[test]
fn a_plan_looks_for_the_programs() {
    let folder = tempfile::tempdir().expect("a folder");
    let suite = "name = \"one\"\nsummary = \"one cell\"\ntopology = \"pair\"\n\n[axes]\nnat-a = [\"port-preserving\"]\n\
                 nat-b = [\"port-preserving\"]\nmethod = [\"theirs\"]\n\n[program]\npeer = [\"/nowhere/puncher\"]\n";
    std::fs::write(folder.path().join("one.toml"), suite).expect("room on the disk");
    let done = testbed_in(folder.path(), &["plan", "one.toml"]);
    assert!(done.stdout.contains("20 trials"), "{}", done.stdout);
    let whole = "testbed: cannot execute the program \"/nowhere/puncher\": there is no such file";
    assert!(done.stderr.contains(whole) && done.code == 2, "{} {}", done.code, done.stderr);
}

#[test]
fn a_program_that_could_not_run_is_no_failure() {
    if !lab_is_possible() {
        return;
    }
    let sh = |script: &str| format!("judge = \"exit\"\npeer = [\"/bin/sh\", \"-c\", \"{script}\"]");
    run(&sh("no-such-program-here")).is_an_error("exited with code 127, as a shell does");
    run(&sh("exit 3")).is_an_error("exited with code 3, which says that it could not run");
    run(&sh("exit 1")).is_an_error("never started: it sent no packet and exited with code 1");
    let broken = "judge = \"exit\"\npeer = [\"/usr/bin/python3\", \"-c\", \"import no_such_module\"]";
    run(broken)
        .is_an_error("after an exception that it did not catch; its last words: \"ModuleNotFoundError");
}

#[test]
fn a_program_that_crashes() {
    if !lab_is_possible() {
        return;
    }
    run("peer = [\"/bin/sh\", \"-c\", \"kill -SEGV $$\"]").is_an_error("signal");
}

#[test]
fn a_program_that_prints_garbage() {
    if !lab_is_possible() {
        return;
    }
    run("peer = [\"/bin/echo\", \"\\u001b[2J nonsense\"]")
        .is_an_error("printed a line that is not of the contract (line 1): it is no JSON object");
    run("peer = [\"/bin/echo\", '{{\"event\":\"result\"}}']").is_an_error("the key \"ok\" is missing");
    run("peer = [\"/bin/true\"]").is_an_error("result");
}

#[test]
fn a_program_that_was_stopped_is_an_error_that_says_so() {
    if !lab_is_possible() {
        return;
    }
    // It stops itself; from outside nobody can tell who did it.
    run_until("700ms", "judge = \"exit\"\npeer = [\"/bin/sh\", \"-c\", \"kill -STOP $$\"]")
        .is_an_error("peer-a was stopped by a signal while the machine ran on");
}

/// The kernel tells the init of its children only; the shell between them waits as long as the one below it is stopped.
#[test]
fn a_program_whose_child_was_stopped_is_an_error_that_says_so() {
    if !lab_is_possible() {
        return;
    }
    let wrapper = r#"judge = "exit"
peer = ["/bin/sh", "-c", "/bin/sh -c 'kill -STOP $$'; exit 1"]"#;
    run_until("700ms", wrapper).is_an_error("peer-a was stopped by a signal while the machine ran on");
    let session = wrapper.replace("/bin/sh -c '", "setsid --wait /bin/sh -c '");
    run_until("700ms", &session).is_an_error("peer-a was stopped by a signal while the machine ran on");
}

#[test]
fn a_program_that_hangs_is_killed() {
    if !lab_is_possible() {
        return;
    }
    run_until("700ms", "judge = \"exit\"\npeer = [\"/bin/sleep\", \"600\"]").failed("peer never started");
}
