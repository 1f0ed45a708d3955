//! What the person who runs a server may want: who may meet, what peers are told, taking over, stopping, logs.

use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use puncher::internals::{Client, Reply};
use puncher::{ClientError, Meeting, Role, Secret};

use crate::fixture::{Ended, Key, LONG, Running, Server, address, connect, next_event};
use crate::rendezvous::{body, client, join, until};

/// How two peers of this machine connect by a server.
fn pair(server: &Server, key: &Key, more: &[&str]) -> [Ended; 2] {
    let meet = |role| {
        let mut command = connect(role, key, "5s");
        command.args([
            "--json",
            "--allow-special-addresses",
            "--meeting",
            "m",
            "--bind",
            &format!("{}:0", address()),
        ]);
        Running::start(command.args(server.arguments()).args(more))
    };
    [meet("a"), meet("b")].map(Running::end)
}

/// Writes a file that nobody else may read.
fn private(path: &Path, text: &str) {
    std::fs::write(path, text).expect("a file");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).expect("it is ours");
}

fn token_file(key: &Key) -> String {
    key.path().to_str().expect("a path in UTF-8").to_owned()
}

#[test]
fn who_shows_a_token_meets_and_who_does_not_is_told() {
    let (key, token, other) = (Key::new(), Key::new(), Key::new());
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("tokens");
    private(&file, &format!("# ours\n{}{}", other.text(), token.text()));
    let server = Server::start(&["--token-file", file.to_str().expect("a path in UTF-8")]);
    for ended in pair(&server, &key, &["--token-file", &token_file(&token)]) {
        assert_eq!(ended.code(), Some(0), "{ended:?}");
    }
    let wrong = token_file(&key);
    for more in [&[][..], &["--token-file", &wrong]] {
        for ended in pair(&server, &key, more) {
            assert_eq!(ended.code(), Some(1), "{ended:?}");
            assert!(ended.stderr.contains("this server asks for a token"), "{ended:?}");
        }
    }
}

#[test]
fn peers_are_told_what_is_advertised() {
    let server =
        Server::start_on(&["0.0.0.0:0", "0.0.0.0:0"], &["--advertise=127.0.0.1", "--advertise=127.0.0.9"]);
    assert!(server.endpoints[0].starts_with("127.0.0.1:") && server.endpoints[1].starts_with("127.0.0.9:"));
    for ended in pair(&server, &Key::new(), &[]) {
        assert_eq!(ended.code(), Some(0), "{ended:?}");
    }
    let refused =
        Running::start(crate::fixture::puncher().args(["rendezvous", "--listen", "0.0.0.0:0"])).end();
    assert_eq!(refused.code(), Some(2), "{refused:?}");
    assert!(refused.stderr.contains("is no endpoint to tell clients: advertise one"), "{refused:?}");
}

/// The first peer's process stands still, as if its host had lost the network: its connection stays.
#[tokio::test]
async fn a_side_that_was_lost_is_taken_over_by_the_next_process_with_the_secret() {
    let (mut server, key) = (Server::start(&[]), Key::new());
    let arguments = server.arguments();
    let start = |role: &str| {
        let mut command = connect(role, &key, "10s");
        command.args([
            "--json",
            "--allow-special-addresses",
            "--meeting",
            "m",
            "--bind",
            &format!("{}:0", address()),
        ]);
        Running::start(command.args(&arguments))
    };
    let lost = start("a");
    until(&mut server, "meetings", |meetings| meetings == 1).await;
    kill(Pid::from_raw(lost.id()), Signal::SIGSTOP).expect("it can be stopped");
    let next = start("a");
    until(&mut server, "taken_over", |times| times == 1).await;
    let peer = start("b");
    for ended in [next.end(), peer.end()] {
        assert_eq!(ended.code(), Some(0), "{ended:?}");
    }
    kill(Pid::from_raw(lost.id()), Signal::SIGCONT).expect("it goes on");
    let ended = lost.end();
    assert!(ended.stderr.contains("took this side over"), "{ended:?}");
}

#[tokio::test]
async fn without_the_secret_no_side_is_taken_over() {
    let server = Server::start(&[]);
    let meeting = |byte| Meeting { name: "m".into(), role: Role::A, secret: Secret::new([byte; 32]) };
    let (own, label) = (meeting(1), meeting(1).label());
    let mut holder = client(&server).await;
    holder.join_with(&own, body("card")).await.expect("joined");
    let mut peer = client(&server).await;
    peer.say(&[join(&label, Role::B)]).await.expect("joined");
    assert_eq!(peer.next().await.expect("a message"), Reply::Relay { body: body("card") });
    // A stranger that knows the label, and says so without and with a lock.
    let mut stranger = client(&server).await;
    stranger.say(&[join(&label, Role::A)]).await.expect("said");
    let refused = stranger.next().await;
    assert!(matches!(&refused, Err(ClientError::Refused(why)) if why.contains("is taken")), "{refused:?}");
    let mut restarted = client(&server).await;
    restarted.join_with(&own, body("new card")).await.expect("said");
    assert_eq!(restarted.next().await.expect("an answer"), Reply::Taken { times: 0 });
    restarted.take_over(&meeting(2), 0, body("forged")).await.expect("said");
    let refused = restarted.next().await;
    assert!(
        matches!(&refused, Err(ClientError::Refused(why)) if why.contains("another secret")),
        "{refused:?}"
    );
    holder.relay(body("still here")).await.expect("relayed");
    assert_eq!(peer.next().await.expect("a message"), Reply::Relay { body: body("still here") });
}

#[tokio::test]
async fn a_stop_ends_who_waits_alone_at_once_and_lets_nobody_join() {
    let mut server = Server::start(&["--grace=20s"]);
    let (mut a, mut b) = (client(&server).await, client(&server).await);
    a.say(&[join("under way", Role::A)]).await.expect("joined");
    b.say(&[join("under way", Role::B)]).await.expect("joined");
    let (mut alone, mut late) = (client(&server).await, client(&server).await);
    alone.say(&[join("alone", Role::A)]).await.expect("joined");
    until(&mut server, "meetings", |meetings| meetings == 2).await;
    server.signal(Signal::SIGTERM);
    assert_eq!(next_event(&mut server.lines)["event"], "stopping");
    late.say(&[join("alone", Role::B)]).await.expect("said");
    for waiting in [&mut alone, &mut late] {
        let told = tokio::time::timeout(LONG, waiting.next()).await.expect("in time");
        assert!(matches!(&told, Err(ClientError::Refused(why)) if why.contains("stopping")), "{told:?}");
    }
    a.relay(body("after")).await.expect("relayed");
    assert_eq!(b.next().await.expect("a message"), Reply::Relay { body: body("after") });
    // One connection that has not joined is still open, and keeps nobody.
    let idle: Client = late;
    drop((a, b));
    assert_eq!(server.running.end().code(), Some(0));
    drop(idle);
}

#[tokio::test]
async fn a_stop_does_not_wait_for_longer_than_it_may() {
    let mut server = Server::start(&["--grace=200ms"]);
    let (mut a, mut b) = (client(&server).await, client(&server).await);
    a.say(&[join("for ever", Role::A)]).await.expect("joined");
    b.say(&[join("for ever", Role::B)]).await.expect("joined");
    until(&mut server, "meetings", |meetings| meetings == 1).await;
    server.signal(Signal::SIGTERM);
    let ended = server.running.end();
    assert_eq!(ended.code(), Some(0), "{ended:?}");
    assert!(ended.stderr.contains("meetings did not end in time"), "{ended:?}");
    drop((a, b));
}

#[tokio::test]
async fn logs_go_to_standard_error_as_far_as_they_are_wanted() {
    for (options, logged) in [(&["--log=debug"][..], true), (&[], false)] {
        let mut server = Server::start(options);
        let mut errors = server.running.stderr();
        let mut a = client(&server).await;
        a.say(&[join("logged", Role::A)]).await.expect("joined");
        until(&mut server, "meetings", |meetings| meetings == 1).await;
        drop(a);
        server.signal(Signal::SIGTERM);
        assert_eq!(next_event(&mut server.lines)["event"], "stopping");
        assert_eq!(server.running.end().code(), Some(0));
        let mut log = String::new();
        errors.read_to_string(&mut log).expect("a log");
        assert_eq!(log.contains("joined a meeting"), logged, "{log}");
        assert!(!log.contains("logged"), "labels are not for logs: {log}");
    }
}

#[test]
fn bad_arguments_are_refused_by_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("tokens");
    private(&file, "not a token\n");
    let file = file.to_str().expect("a path in UTF-8");
    let cases: &[(&[&str], &str)] = &[
        (&["--advertise=nowhere"], "expected IP or IP:PORT"),
        (
            &["--advertise=192.0.2.1", "--advertise=192.0.2.2"],
            "2 endpoints are advertised, 1 are listened on",
        ),
        (&["--token-file", file], "tokens:1: a token is 64 hexadecimal digits"),
        (&["--token-file", "/"], "cannot read /"),
        (&["--log=loud"], "--log"),
    ];
    for (more, because) in cases {
        let mut command = crate::fixture::puncher();
        let ended = Running::start(command.args(["rendezvous", "--listen", "127.0.0.1:0"]).args(*more)).end();
        assert_eq!(ended.code(), Some(2), "{ended:?}");
        assert!(ended.stderr.contains(because), "expected {because:?} in {}", ended.stderr);
        assert!(ended.stdout.is_empty(), "{ended:?}");
    }
}
