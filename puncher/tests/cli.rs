use std::path::Path;

use crate::fixture::{Ended, Key, Running, address, puncher};

fn run(arguments: &[&str]) -> Ended {
    Running::start(puncher().args(arguments)).end()
}

/// Arguments of a connect that lacks nothing but sense.
fn connect(key: &Key, more: &[&str]) -> Ended {
    let key = key.path();
    let mut arguments =
        vec!["connect", "--rendezvous", "127.0.0.1:9", "--meeting", "m", "--role", "a", "--key-file"];
    arguments.push(key.to_str().expect("a path in UTF-8"));
    arguments.extend(more);
    run(&arguments)
}

fn refused(ended: &Ended, because: &str) {
    assert_eq!(ended.code(), Some(2), "{ended:?}");
    assert!(ended.stderr.contains(because), "expected {because:?} in {}", ended.stderr);
    assert!(ended.stdout.is_empty(), "{ended:?}");
}

#[test]
fn bad_arguments_are_refused_by_name() {
    let key = Key::new();
    let cases: &[(&[&str], &str)] = &[
        (&["--method", "simultaneus-open"], "expected one of: auto, simultaneous-open"),
        (&["--budget-syns", "0"], "a budget of 0 SYNs"),
        (&["--budget-syns=-1"], "--budget-syns"),
        (&["--deadline", "0s"], "a deadline of 0 s"),
        (&["--deadline", "soon"], "--deadline"),
        (&["--bind", "10.0.0.2"], "--bind"),
        (&["--hops", "0"], "--hops"),
        (&["--keep-alive", "10ms"], "a connection is kept alive every 1 s"),
        (&["--exec", "cat", "--to", "127.0.0.1:9"], "--to"),
        (&["--peer", "127.0.0.1:9"], "--peer"),
    ];
    for (more, because) in cases {
        refused(&connect(&key, more), because);
    }
}

#[test]
fn help_lists_the_methods() {
    let help = run(&["connect", "--help"]).stdout;
    let help = String::from_utf8(help).expect("text");
    let words: Vec<&str> = help.split([' ', ',', '\n']).collect();
    for method in puncher::MethodName::ALL {
        assert!(words.contains(&method.name()), "{method}: {help}");
    }
}

#[test]
fn what_is_missing_is_named() {
    refused(&run(&["connect"]), "--key-file");
    refused(&run(&["rendezvous"]), "--listen");
    refused(&run(&["connect", "--key-file", "/", "--meeting", "m", "--role", "a"]), "--rendezvous");
    let key = Key::new();
    let key = key.path();
    let key = key.to_str().expect("a path in UTF-8");
    refused(&run(&["connect", "--key-file", key, "--rendezvous", "127.0.0.1:9", "--meeting", "m"]), "--role");
    refused(
        &run(&["connect", "--key-file", key, "--rendezvous", "127.0.0.1:9", "--role", "c", "--meeting", "m"]),
        "expected a or b",
    );
}

#[test]
fn a_key_file_must_hold_a_key() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("key");
    let name = file.to_str().expect("a path in UTF-8");
    let try_it = || {
        run(&["connect", "--rendezvous", "127.0.0.1:9", "--meeting", "m", "--role", "a", "--key-file", name])
    };
    refused(&try_it(), "cannot read");
    refused(&try_it(), &format!("help: make a key with: puncher key {name}; the peer needs the same file"));
    std::fs::write(&file, "not a key").expect("a file");
    set_mode(&file, 0o644);
    refused(&try_it(), "others may read");
    set_mode(&file, 0o600);
    refused(&try_it(), "64 hexadecimal digits");
}

#[test]
fn a_new_key_is_private_and_never_overwrites() {
    use std::os::unix::fs::PermissionsExt as _;
    let key = Key::new();
    let mode = std::fs::metadata(key.path()).expect("a file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let before = key.text();
    refused(&run(&["key", key.path().to_str().expect("a path in UTF-8")]), "cannot write key file");
    assert_eq!(key.text(), before);
}

#[test]
fn an_endpoint_that_cannot_be_bound_is_named() {
    let key = Key::new();
    refused(&connect(&key, &["--bind", "192.0.2.1:0"]), "cannot bind 192.0.2.1:0");
    refused(&run(&["rendezvous", "--listen", "192.0.2.1:0"]), "cannot listen on 192.0.2.1:0");
}

#[test]
fn a_server_that_is_not_there_is_no_path() {
    let key = Key::new();
    let ended = connect(&key, &["--json"]);
    assert_eq!(ended.code(), Some(1));
    let result = ended.result();
    assert_eq!((&result["ok"], &result["failure"]), (&false.into(), &"server".into()));
    assert!(result["error"].as_str().expect("text").contains("cannot reach rendezvous server 127.0.0.1:9"));
}

/// RFC 6761 section 6.4: the name has no address anywhere.
#[test]
fn a_server_is_named_or_numbered_and_a_name_without_an_address_is_told() {
    let key = Key::new();
    let ended = connect(&key, &["--json", "--rendezvous", "nowhere.invalid:7000"]);
    assert_eq!((ended.code(), &ended.result()["failure"]), (Some(1), &"server".into()), "{ended:?}");
    assert!(ended.stderr.contains("cannot find rendezvous server \"nowhere.invalid:7000\""), "{ended:?}");
    let ended = connect(&key, &["--rendezvous", "localhost:9"]);
    assert!(ended.stderr.contains("cannot reach rendezvous server 127.0.0.1:9"), "{ended:?}");
    for wrong in ["localhost", ":7000", "localhost:0", "localhost:x"] {
        refused(&connect(&key, &["--rendezvous", wrong]), "expected HOST:PORT");
    }
}

#[test]
fn exit_codes_say_what_stood_in_the_way() {
    let key = Key::new();
    assert_eq!(connect(&key, &[]).code(), Some(3), "no server");
    assert_eq!(connect(&key, &["--exec", "true"]).code(), Some(123), "beside the command's own codes");
    assert_eq!(connect(&key, &["--exec", "true", "--bind", "192.0.2.1:0"]).code(), Some(122));
}

fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("a file of ours");
}

#[test]
fn tickets_that_are_none_are_refused() {
    let (key, other_key) = (Key::new(), Key::new());
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str| folder.path().join(name).to_str().expect("a path in UTF-8").to_owned();
    let ticket = |key: &Key, name: &str| {
        let mut command = puncher();
        command.args(["ticket", "--external", "127.0.0.1:9", "--bind", "127.0.0.1:9", "--keep", &file(name)]);
        let ended = Running::start(command.arg("--key-file").arg(key.path())).end();
        String::from_utf8(ended.stdout).expect("text").trim().to_owned()
    };
    let connect = |own: &str, peer: &str| {
        let mut command = puncher();
        command.args(["connect", "--ticket", &file(own), "--peer-ticket", peer, "--key-file"]);
        Running::start(command.arg(key.path())).end()
    };
    let (own, foreign) = (ticket(&key, "own"), ticket(&other_key, "foreign"));
    refused(&connect("nothing", &own), "cannot read");
    std::fs::write(file("nonsense"), "nonsense").expect("a file");
    set_mode(Path::new(&file("nonsense")), 0o600);
    refused(&connect("nonsense", &own), "cannot read the own ticket");
    refused(&connect("own", "nonsense"), "cannot read the peer's ticket");
    refused(&connect("own", "puncher1.00.00"), "a ticket of another version");
    refused(&connect("own", &own), "both tickets are the same one");
    refused(&connect("own", &foreign), "made with another key");
    refused(&run(&["ticket", "--external", "1.2.3.4:5", "--bind", "1.2.3.4:5", "--key-file", "k"]), "--keep");
    set_mode(Path::new(&file("own")), 0o640);
    refused(&connect("own", &foreign), "others may read");
}

/// Without a server nothing happens until the agreed start, so that is said at once.
#[test]
fn a_start_that_is_awaited_is_told() {
    let (key, folder) = (Key::new(), tempfile::tempdir().expect("a folder"));
    let mut ticket = puncher();
    ticket.args(["ticket", "--external", "127.0.0.1:9", "--bind", "127.0.0.1:9", "--start-in", "1m"]);
    ticket.arg("--keep").arg(folder.path().join("own")).arg("--key-file").arg(key.path());
    let ended = Running::start(&mut ticket).end();
    assert_eq!((ended.code(), ended.stderr.trim_end()), (Some(0), "puncher: this ticket starts in 1m"));
    let bind = format!("{}:0", address());
    let mut alone = crate::fixture::connect("a", &key, "100ms");
    alone.args(["--meeting", "m", "--peer", &format!("{}:9", address()), "--bind", &bind]);
    let ended = Running::start(alone.args(["--allow-special-addresses", "--start-in", "300ms"])).end();
    assert_eq!(ended.code(), Some(1), "{ended:?}");
    assert!(ended.stderr.starts_with("puncher: starting in 300ms\n"), "{ended:?}");
}
