//! Programs under test that try to do harm: as root and in a user namespace, none succeeds. docs/threat-model.md has a line for each.

use std::fs::{self, Permissions};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::lab::lab_is_possible;

/// The attacks of `tests/programs/attacks.py`, by name.
const ATTACKS: [&str; 30] = [
    "system-files",
    "home-files",
    "passwords",
    "secrets",
    "settings",
    "core-pattern",
    "sysrq",
    "mounts",
    "user-namespace",
    "init-namespaces",
    "init-files",
    "ptrace",
    "signals",
    "suite-socket",
    "host-sockets",
    "abstract-socket",
    "pipes",
    "suite-files",
    "handles",
    "rights",
    "other-users",
    "packets",
    "network",
    "run-files",
    "keys",
    "devices",
    "leftovers",
    "descriptors",
    "bomb",
    "many-files",
];

/// More trials in all than labs: the later ones would find what earlier ones left.
const TRIALS: usize = 2;

/// Whose rights testbed has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    Root,
    /// A user who is nobody, if the tests run as root; else whoever runs them.
    Nobody,
}

/// What is there to be attacked: files, sockets and a pipe of the machine's.
struct Machine {
    folder: TempDir,
    _sockets: [UnixListener; 3],
    _pipe: fs::File,
}

impl Machine {
    fn new(who: Who) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path();
        let suite = path.join("suite");
        fs::create_dir(&suite).expect("room on the disk");
        fs::write(suite.join("attacks.py"), include_str!("../programs/attacks.py")).expect("room");
        fs::write(suite.join("attacks.toml"), text(path, who)).expect("room");
        fs::write(suite.join("victim"), "untouched").expect("room");
        fs::write(path.join("secret"), "untouched").expect("room");
        let pipe = suite.join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::from_bits_truncate(0o666)).expect("a pipe");
        let abstract_address = SocketAddr::from_abstract_name(abstract_name(path, who)).expect("a name");
        let sockets = [
            UnixListener::bind(suite.join("socket")).expect("a socket"),
            UnixListener::bind(path.join("socket")).expect("a socket"),
            UnixListener::bind_addr(&abstract_address).expect("a socket"),
        ];
        // Both ends, so that whoever opens it finds a reader.
        let open =
            fs::OpenOptions::new().read(true).write(true).custom_flags(nix::libc::O_NONBLOCK).open(&pipe);
        let machine = Self { _pipe: open.expect("our own pipe"), folder, _sockets: sockets };
        machine.open_to_everybody();
        machine
    }

    /// What forbids an attack is not that files belong to somebody else.
    fn open_to_everybody(&self) {
        let suite = self.folder.path().join("suite");
        let of = |folder: &Path| {
            fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path())
        };
        for path in of(self.folder.path()).chain(of(&suite)).chain([self.folder.path().to_owned()]) {
            fs::set_permissions(&path, Permissions::from_mode(0o777)).expect("it is ours");
        }
    }
}

fn abstract_name(folder: &Path, who: Who) -> String {
    format!("testbed-{who:?}-{}", folder.display())
}

/// The suite: each attack is a method, made by both peers.
fn text(folder: &Path, who: Who) -> String {
    let methods = ATTACKS.map(|attack| format!("\"{attack}\"")).join(", ");
    let known = [
        ("suite", "{suite_dir}".to_owned()),
        ("out", folder.join("out").display().to_string()),
        ("secret", folder.join("secret").display().to_string()),
        ("socket", folder.join("socket").display().to_string()),
        ("abstract", abstract_name(folder, who)),
        ("harness", std::process::id().to_string()),
    ];
    let known = known.map(|(key, value)| format!("\"{key}={value}\"")).join(", ");
    format!(
        "name = \"attacks\"\nsummary = \"hostile programs\"\ntopology = \"pair\"\ntrials = {TRIALS}\ndeadline = \"20s\"\n\
         [axes]\nnat-a = [\"port-preserving\"]\nnat-b = [\"port-preserving\"]\nmethod = [{methods}]\n\
         [program]\njudge = \"exit\"\npeer = [\"/usr/bin/python3\", \"{{suite_dir}}/attacks.py\", \"{{method}}\", {known}]\n"
    )
}

/// Makes the run, and returns its folder.
fn run(machine: &Machine, who: Who) -> std::path::PathBuf {
    let out = machine.folder.path().join("out");
    let testbed = env!("CARGO_BIN_EXE_testbed");
    let as_nobody = who == Who::Nobody && nix::unistd::geteuid().is_root();
    let mut command = match as_nobody {
        true => {
            // The program itself may lie where nobody gets to.
            let copy = machine.folder.path().join("testbed");
            crate::cli::copy_program(testbed, &copy);
            let mut command = Command::new("setpriv");
            command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(copy);
            command
        }
        false => Command::new(testbed),
    };
    let suite = machine.folder.path().join("suite/attacks.toml");
    command.arg("run").arg(suite).args(["--jobs", "4", "--seed", "1", "--keep", "all", "--out"]).arg(&out);
    if who == Who::Nobody {
        command.arg("--rootless");
    }
    let done = command
        .env("NO_COLOR", "1")
        .env("HOME", machine.folder.path().join("home"))
        .output()
        .expect("testbed starts");
    assert!(out.join("results.json").is_file(), "{}", String::from_utf8_lossy(&done.stderr));
    out
}

fn no_attack_succeeds(who: Who) {
    let machine = Machine::new(who);
    let out = run(&machine, who);
    let mut wrong = Vec::new();
    for (attack, trial, peer) in all_of_them() {
        let file = format!("cells/port-preserving~port-preserving~{attack}/trial-{trial}/{peer}.stderr");
        let said = fs::read_to_string(out.join(&file)).unwrap_or_else(|why| format!("{file}: {why}"));
        if !said.lines().last().is_some_and(|line| line.starts_with("held: ")) {
            wrong.push(format!("{attack}, trial {trial}, {peer}: {}", said.trim()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for file in ["suite/victim", "secret"] {
        let text = fs::read_to_string(machine.folder.path().join(file)).expect("it is still there");
        assert_eq!(text, "untouched", "{file}");
    }
    assert!(
        fs::symlink_metadata(machine.folder.path().join("suite/pipe")).expect("a pipe").file_type().is_fifo()
    );
    assert!(!Path::new("/etc/testbed-was-here").exists());
}

fn all_of_them() -> impl Iterator<Item = (&'static str, usize, &'static str)> {
    let peers = |(attack, trial)| ["peer-a", "peer-b"].map(|peer| (attack, trial, peer));
    ATTACKS.iter().flat_map(|attack| (1..=TRIALS).map(move |trial| (*attack, trial))).flat_map(peers)
}

#[test]
fn no_attack_succeeds_where_testbed_is_root() {
    if lab_is_possible() {
        no_attack_succeeds(Who::Root);
    }
}

#[test]
fn no_attack_succeeds_without_root() {
    if lab_is_possible() {
        no_attack_succeeds(Who::Nobody);
    }
}
