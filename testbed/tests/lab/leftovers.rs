//! A lab leaves nothing behind and changes nothing outside, however it ends.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::{self, Stdio};
use std::time::Duration;

use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use rtnetlink::packet_route::RouteNetlinkMessage;
use testbed::kernel::link::{Device, Links};
use testbed::kernel::namespace::Namespace;
use testbed::kernel::process::{Command, ConfinedInit};
use testbed::kernel::sandbox::{Sandbox, ShownFiles};
use testbed::lab::Lab;
use testbed::lab::nat_rules::{NatSite, render};
use testbed::model::behavior::Behavior;
use testbed::model::topology::NodeName;

use super::pair::pair;
use super::{is_readable_within, lab_is_possible};

const PATIENCE: Duration = Duration::from_secs(20);

async fn lab() -> Lab {
    Lab::new(&pair()).build().await.expect("a lab")
}

async fn lab_with_a_nat() -> Lab {
    let mut lab = lab().await;
    let nat = NodeName::new("nat-a").expect("a good name");
    let site = NatSite::of(lab.plan(), &nat).expect("a NAT");
    lab.set_nat(&nat, &render(&Behavior::port_preserving(), &site)).expect("good rules");
    lab
}

/// A namespace of the test with one end of a veth pair, whose other end is in the lab: it goes when the lab has gone.
struct Witness {
    namespace: Namespace,
    /// Where the kernel tells what becomes of the links of the namespace.
    news: Socket,
}

impl Witness {
    async fn of(other: &Namespace) -> Self {
        let runtime = tokio::runtime::Handle::current();
        let (namespace, (links, news)) = Namespace::create(|inside| {
            let _context = runtime.enter();
            (Links::open(inside).expect("a socket"), news_of_links())
        })
        .expect("a namespace");
        let near = Device { index: 10, name: "near", mac: [2, 0, 0, 0, 1, 1] };
        let far = Device { index: 1000, name: "far", mac: [2, 0, 0, 0, 1, 2] };
        links.add_veth(near, far, other).await.expect("a veth pair");
        Self { namespace, news }
    }

    fn is_there(&self) -> bool {
        let devices = self.namespace.enter(|_| fs::read_to_string("/proc/thread-self/net/dev"));
        devices.expect("the way in").expect("a list of devices").contains("near:")
    }

    fn wait_until_gone(&self) {
        while !self.tells_of_an_end() {}
        assert!(!self.is_there());
    }

    /// Waits for the next news, and reads it: whether a link has ended. There is only one that can.
    fn tells_of_an_end(&self) -> bool {
        assert!(
            is_readable_within(&self.news, PATIENCE),
            "the lab's namespace is still there after {PATIENCE:?}"
        );
        let (news, _) = self.news.recv_from_full().expect("news");
        let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&news).expect("a message");
        matches!(message.payload, NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelLink(_)))
    }
}

/// A socket that hears of every link of this thread's namespace.
fn news_of_links() -> Socket {
    let mut socket = Socket::new(NETLINK_ROUTE).expect("a socket");
    socket.bind(&SocketAddr::new(0, libc::RTMGRP_LINK as u32)).expect("a group to join");
    socket
}

#[tokio::test]
async fn a_dropped_lab_is_gone() {
    if !lab_is_possible() {
        return;
    }
    let lab = lab().await;
    let _program = lab.node("peer-a").expect("a node").spawn("sleep 1000").await.expect("a program");
    let witness = Witness::of(lab.node("peer-a").expect("a node").namespace()).await;
    assert!(witness.is_there());
    drop(lab);
    witness.wait_until_gone();
}

/// Builds a lab, says where it is, and waits to be killed.
async fn be_the_victim() {
    let lab = lab().await;
    let mut programs = Vec::new();
    for peer in ["peer-a", "peer-b"] {
        programs.push(lab.node(peer).expect("a node").spawn("sleep 1000").await.expect("a program"));
    }
    let path = lab.node("peer-a").expect("a node").namespace().path();
    writeln!(std::io::stdout(), "\nvictim {path}").expect("a reader");
    std::future::pending::<()>().await;
    drop((lab, programs));
}

#[tokio::test]
async fn a_killed_harness_leaves_no_lab() {
    const VICTIM: &str = "TESTBED_TEST_LAB_VICTIM";
    if std::env::var_os(VICTIM).is_some() {
        return be_the_victim().await;
    }
    if !lab_is_possible() {
        return;
    }
    let mut victim = process::Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", "lab::leftovers::a_killed_harness_leaves_no_lab", "--nocapture"])
        .env(VICTIM, "1")
        .stdout(Stdio::piped())
        .spawn()
        .expect("a copy of this test");
    let mut lines = BufReader::new(victim.stdout.take().expect("a pipe")).lines().map_while(Result::ok);
    let path = lines.find_map(|line| line.strip_prefix("victim ").map(str::to_owned)).expect("a path");
    // Enter by the path, as any other tool would, and look from a namespace of our own.
    let file = fs::File::open(&path).expect("the victim's namespace");
    let witness = Witness::of(&adopt(&file)).await;
    drop(file);
    assert!(witness.is_there());
    victim.kill().expect("our child");
    victim.wait().expect("our child");
    witness.wait_until_gone();
}

/// A namespace that somebody else made.
fn adopt(file: &fs::File) -> Namespace {
    Namespace::open(Path::new(&format!("/proc/self/fd/{}", file.as_raw_fd()))).expect("a namespace")
}

/// Everything of the host's network that a lab could change, without what changes of itself: counters, lifetimes, and
/// whether a neighbour was heard of lately.
fn host() -> String {
    let run = |line: &str| {
        let (program, arguments) = line.split_once(' ').expect("a program and its arguments");
        let output = process::Command::new(program).args(arguments.split(' ')).output().expect(program);
        without_lifetimes(&String::from_utf8_lossy(&output.stdout))
    };
    let mut all = ["link", "address", "route show table all", "rule", "neighbour show nud permanent"]
        .map(|what| run(&format!("ip -o {what}")))
        .concat();
    all += &run("nft --stateless list ruleset");
    let mut settings = Vec::new();
    collect_settings(Path::new("/proc/sys/net"), &mut settings);
    settings.sort();
    all + &settings.join("\n")
}

/// Drops the seconds that an address or a route has left.
fn without_lifetimes(text: &str) -> String {
    let is_time =
        |word: &str| word.ends_with("sec") && word[..word.len() - 3].bytes().all(|b| b.is_ascii_digit());
    let lines =
        text.lines().map(|line| line.split(' ').filter(|word| !is_time(word)).collect::<Vec<_>>().join(" "));
    lines.map(|line| line + "\n").collect()
}

/// Every readable setting below a folder; counters are none.
fn collect_settings(folder: &Path, into: &mut Vec<String>) {
    for entry in fs::read_dir(folder).expect("settings").filter_map(Result::ok) {
        let path = entry.path();
        if path.is_dir() {
            collect_settings(&path, into);
        } else if !path.ends_with("nf_conntrack_count") {
            let value = fs::read_to_string(&path).unwrap_or_default();
            into.push(format!("{} = {}", path.display(), value.trim()));
        }
    }
}

#[tokio::test]
async fn a_lab_changes_nothing_of_the_host() {
    if !lab_is_possible() {
        return;
    }
    // The first NAT may make the kernel load modules, and these bring settings of their own.
    drop(lab_with_a_nat().await);
    let before = host();
    let lab = lab_with_a_nat().await;
    let during = host();
    drop(lab);
    assert_eq!(before, during);
    assert_eq!(before, host());
}

/// Of the kinds of change that there are, one each.
const CHANGES: [(&str, &str); 4] = [
    ("echo 2 > /proc/sys/net/ipv4/ip_default_ttl", "net.ipv4.ip_default_ttl is 2, and was 64"),
    ("ip address add 10.9.9.9/32 dev lo", "its addresses or routes are others than before"),
    ("ip link add mine type veth peer name yours", "its devices are"),
    ("nft add table ip mine", "its rules were changed"),
];

#[tokio::test]
async fn what_a_program_changes_of_its_node_is_noticed() {
    if !lab_is_possible() {
        return;
    }
    let sandbox = Sandbox::shared(&ShownFiles::default()).expect("a root folder");
    for (change, said) in CHANGES {
        let lab = lab_with_a_nat().await;
        let peer = lab.node("peer-a").expect("a node");
        peer.admit(&sandbox, None).await.expect("a node for programs");
        for seed in 0..2 {
            lab.reset(seed).await.expect("a reset");
            peer.admit(&sandbox, None).await.expect("a node for programs");
            assert_eq!(lab.changed_by_programs().expect("an answer"), None);
        }
        // No program under test has the rights for it, so one that is none does it.
        let changed = peer.spawn(Command::new("/bin/sh").args(["-c", change])).await.expect("a shell");
        assert!(changed.output().await.expect("an end").status.success(), "{change}");
        let found = lab.changed_by_programs().expect("an answer").expect("a change");
        assert!(found.starts_with("node \"peer-a\": ") && found.contains(said), "{change}: {found}");
    }
}

#[tokio::test]
async fn ports_that_testbed_frees_are_no_change() {
    if !lab_is_possible() {
        return;
    }
    let sandbox = Sandbox::shared(&ShownFiles::default()).expect("a root folder");
    let lab = lab().await;
    let peer = lab.node("peer-a").expect("a node");
    for first in [0, 1024] {
        peer.free_ports_from(first).expect("a setting");
        peer.admit(&sandbox, None).await.expect("a node for programs");
        assert_eq!(lab.changed_by_programs().expect("an answer"), None, "from {first} on");
    }
}

/// What a program may leave in its `/tmp`, be it in the place of what it found there.
const LEFT: [&str; 12] = [
    "true",
    "touch /tmp/file",
    "touch /tmp/.hidden",
    "mkdir -p /tmp/home/a/b && touch /tmp/work/file",
    "rmdir /tmp/home && ln -s /usr /tmp/home",
    "rmdir /tmp/work && touch /tmp/work",
    "mv /tmp/work /tmp/elsewhere",
    "rm /tmp/key && mkdir -p /tmp/key/inside",
    "mv /tmp/key /tmp/kept",
    "ln /tmp/key /tmp/twice || touch /tmp/twice",
    "chmod 000 /tmp/home /tmp/work; chmod 644 /tmp/key",
    "touch -d 2001-01-01 /tmp/home; mkfifo /tmp/pipe",
];

#[tokio::test]
async fn each_trial_has_an_empty_folder_for_temporary_files() {
    if !lab_is_possible() {
        return;
    }
    // Owners are told by name of relation, as each node has another user.
    const LOOK: &str = "cd /tmp && find . -printf '%p %y %m %s ' \\( -user $(id -u) -printf own -o -printf other \\) -printf '\\n' \
         | sort && stat -c %Y home work && df --output=iused,used /tmp | tail -n 1 && cat key";
    let sandbox = Sandbox::shared(&ShownFiles::default()).expect("a root folder");
    let lab = lab().await;
    let peer = lab.node("peer-a").expect("a node");
    let say = async |script: &str| {
        let command = Command::new("/bin/sh").args(["-c", script]).directory(ConfinedInit::FOLDER);
        let output = peer.spawn_confined(&command).await.expect("a shell").output().await.expect("an end");
        lab.kill_all().await.expect("an end");
        (String::from_utf8_lossy(&output.stdout).into_owned(), output.status.success())
    };
    let without_times = |said: &str| {
        let is_time = |line: &&str| line.parse::<u64>().is_ok_and(|number| number > 900_000_000);
        let (times, rest): (Vec<&str>, Vec<&str>) = said.lines().partition(is_time);
        assert!(times.len() == 2 && times.iter().all(|time| *time > "1700000000"), "{said}");
        rest.join("\n")
    };
    peer.admit(&sandbox, Some("first")).await.expect("a node for programs");
    let (first, well) = say(LOOK).await;
    assert!(well && first.contains("./home d 700 "), "{first}");
    for left in LEFT {
        let (_, well) = say(left).await;
        assert!(well, "{left}");
        peer.admit(&sandbox, Some("other")).await.expect("a node for programs");
        let (then, well) = say(LOOK).await;
        assert!(well, "{left}: {then}");
        assert_eq!(without_times(&then), without_times(&first).replace("first", "other"), "after {left}");
        peer.admit(&sandbox, Some("first")).await.expect("a node for programs");
    }
    // Without a secret there is none.
    peer.admit(&sandbox, None).await.expect("a node for programs");
    assert!(say("test ! -e /tmp/key").await.1);
}
