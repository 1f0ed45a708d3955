//! NATs that a program makes: when it is started, started again and ended, and what is left of it.

use std::fs::Permissions;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use testbed::lab::Lab;
use testbed::lab::nat_rules::{NatSite, by_program, render};
use testbed::model::behavior::Behavior;
use testbed::model::conditions::{Conditions, LinkConditions};
use testbed::model::packet::Packet;
use testbed::model::topology::NodeName;

use super::pair::in_lab;

const PATIENCE: Duration = Duration::from_secs(20);

/// Rules with a set that traffic fills.
const RULES: &str = "table ip nat { set known { type ipv4_addr; flags dynamic; }; chain c { \
                     type nat hook postrouting priority srcnat; oifname wan add @known { ip saddr } masquerade; }; }";

fn nat() -> NodeName {
    NodeName::new("nat-a").expect("a good name")
}

fn site(lab: &Lab) -> NatSite {
    NatSite::of(lab.plan(), &nat()).expect("a NAT")
}

/// Makes nat-a the NAT of a shell script that finds `RULES` in a variable and may write into `folder`.
async fn become_script(lab: &mut Lab, script: &str, folder: &Path) -> testbed::kernel::Result<()> {
    let words = ["/bin/sh", "-c", script].map(str::to_owned);
    let behavior = Behavior::port_preserving();
    let mut config = by_program("script", &words, folder.to_owned(), &behavior, &site(lab));
    let command = config.command.as_mut().expect("a program");
    command.variables.push(("RULES".to_owned(), RULES.to_owned()));
    command.writable.push(folder.to_owned());
    lab.become_nat(&nat(), &config).await
}

/// A script that loads the rules and stays, and writes down when it starts and ends, and by which address.
const STAYS: &str = "set -e; echo $RULES | nft -f -; echo start $NAT_WAN_ADDRESS >> log; \
                     trap 'echo end >> log; exit' TERM; echo ready; sleep 1000 & wait";

fn log(folder: &Path) -> String {
    std::fs::read_to_string(folder.join("log")).unwrap_or_default()
}

/// A folder that everybody may write into: the program is nobody whom the folder knows.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::set_permissions(folder.path(), Permissions::from_mode(0o777)).expect("it is ours");
    folder
}

fn rules(lab: &Lab) -> String {
    lab.node(&nat()).expect("the NAT").ruleset().expect("a list")
}

#[test]
fn a_program_that_is_done_is_not_run_again_and_what_its_rules_learn_is_forgotten() {
    in_lab(async |mut lab| {
        let folder = folder();
        let script = "echo $RULES | nft -f - && echo start >> log";
        become_script(&mut lab, script, folder.path()).await.expect("a NAT");
        let before = rules(&lab);
        assert!(before.contains("masquerade") && before.contains("set known"), "{before}");
        let elements = || async {
            let list = lab.node(&nat()).expect("the NAT").spawn("nft list set ip nat known").await;
            let output = list.expect("nft").output().await.expect("an end");
            String::from_utf8(output.stdout).expect("text")
        };
        let peer = lab.node("peer-a").expect("a peer");
        let server = SocketAddr::from(([203, 0, 113, 1], 7000));
        let refused = peer.enter(|_| TcpStream::connect_timeout(&server, PATIENCE)).expect("the way in");
        assert_eq!(refused.expect_err("nobody listens").kind(), ErrorKind::ConnectionRefused);
        assert!(elements().await.contains("10.0.0.2"), "{}", elements().await);
        lab.reset(1).await.expect("a reset");
        assert!(!elements().await.contains("10.0.0.2"), "{}", elements().await);
        assert_eq!((rules(&lab), log(folder.path()).as_str()), (before, "start\n"));
    });
}

/// A NAT that opens a connection to the core when it is to end.
const LAST_WORD: &str = r#"exec /usr/bin/python3 -c '
import os, signal, socket, time
def last_word(*_):
    caller = socket.socket()
    caller.setblocking(False)
    caller.connect_ex(("203.0.113.1", 9))
    os._exit(0)
signal.signal(signal.SIGTERM, last_word)
print("ready", flush=True)
while True:
    time.sleep(1)
'"#;

#[test]
fn what_a_program_sends_when_it_is_ended_does_not_come_to_the_fresh_state() {
    in_lab(async |mut lab| {
        let folder = folder();
        become_script(&mut lab, LAST_WORD, folder.path()).await.expect("a NAT");
        // Long enough for the packet to be on its way until the reset is over, on whatever machine.
        for trip in [1, 4, 16].map(Duration::from_secs) {
            let slow = LinkConditions::symmetric(Conditions { delay: trip, ..Conditions::default() });
            lab.set_conditions(|_, _| slow).expect("a delay");
            let began = Instant::now();
            lab.reset(1).await.expect("a reset");
            if began.elapsed() >= trip {
                continue;
            }
            // What was on its way before has come when the core has refused this.
            let server = SocketAddr::from(([203, 0, 113, 1], 7000));
            let node = lab.node("nat-a").expect("the NAT");
            let refused =
                node.enter(|_| TcpStream::connect_timeout(&server, PATIENCE + 2 * trip)).expect("the way in");
            assert_eq!(refused.expect_err("nobody listens").kind(), ErrorKind::ConnectionRefused);
            let evidence = lab.evidence().expect("evidence");
            let others: Vec<_> = evidence.packets().filter(|(_, packet)| !concerns(packet, server)).collect();
            assert!(others.is_empty(), "{others:#?}");
            return;
        }
        panic!("no reset was over in 16 s");
    });
}

fn concerns(packet: &Packet, server: SocketAddr) -> bool {
    [packet.source, packet.destination].map(SocketAddr::from).contains(&server)
}

#[test]
fn a_program_that_stays_is_started_again_for_each_fresh_state_and_ended_with_its_nat() {
    in_lab(async |mut lab| {
        let folder = folder();
        become_script(&mut lab, STAYS, folder.path()).await.expect("a NAT");
        let before = rules(&lab);
        lab.reset(1).await.expect("a reset");
        lab.restart_nat(&nat()).await.expect("a restart");
        assert_eq!(rules(&lab), before, "once, not once more for each start");
        lab.check_nat_programs().await.expect("it is there");
        let renumbered = {
            let words = ["/bin/sh", "-c", STAYS].map(str::to_owned);
            let (behavior, folder) = (Behavior::port_preserving(), folder.path().to_owned());
            let rules = |site: &NatSite| {
                let mut config = by_program("script", &words, folder, &behavior, site);
                let command = config.command.as_mut().expect("a program");
                command.variables.push(("RULES".to_owned(), RULES.to_owned()));
                command.writable = vec![command.folder.clone()];
                Ok(config)
            };
            lab.renumber(&nat(), rules).await.expect("another address")
        };
        let generated = render(&Behavior::port_preserving(), &site(&lab));
        lab.set_nat(&nat(), &generated).expect_err("a program makes its rules");
        lab.become_nat(&nat(), &generated).await.expect("another NAT");
        assert!(!rules(&lab).contains("known"), "{}", rules(&lab));
        let start = "start 192.0.2.2\nend\n";
        assert_eq!(log(folder.path()), format!("{start}{start}{start}start {renumbered}\nend\n"));
    });
}

#[test]
fn a_program_that_leaves_its_nat_alone_is_noticed() {
    in_lab(async |mut lab| {
        let folder = folder();
        let script = "echo ready; while [ ! -e stop ]; do sleep 0.01; done; echo bye >&2; exit 7";
        become_script(&mut lab, script, folder.path()).await.expect("a NAT");
        lab.check_nat_programs().await.expect("it is there");
        std::fs::write(folder.path().join("stop"), "").expect("room on the disk");
        let deadline = Instant::now() + PATIENCE;
        let error = loop {
            match lab.check_nat_programs().await {
                Err(error) => break error.to_string(),
                Ok(()) => assert!(Instant::now() < deadline, "it is still there"),
            }
        };
        for part in ["node \"nat-a\": ", "the NAT \"script\"", "exit status: 7"] {
            assert!(error.contains(part), "expected {part}\nobserved {error}");
        }
        lab.reset(1).await.expect_err("its NAT is gone");
    });
}

#[test]
fn a_program_has_the_rights_of_a_nat_and_no_others() {
    in_lab(async |mut lab| {
        let folder = folder();
        let script = "grep CapEff /proc/self/status > log";
        become_script(&mut lab, script, folder.path()).await.expect("a NAT");
        // Bits of capabilities(7): 10 low ports, 12 network, 13 raw sockets, 39 BPF.
        assert_eq!(log(folder.path()), "CapEff:\t0000008000003400\n");
    });
}

/// Makes nat-a the NAT of a script that does harm, and returns what is said of it.
async fn refused(lab: &mut Lab, script: &str) -> String {
    let folder = folder();
    let error = become_script(lab, script, folder.path()).await.expect_err("no NAT");
    let error = error.to_string();
    for part in ["node \"nat-a\": ", "the NAT \"script\""] {
        assert!(error.contains(part), "expected {part}\nobserved {error}");
    }
    error
}

#[test]
fn a_program_that_never_is_ready_multiplies_or_kills_is_an_error_of_its_nat_alone() {
    in_lab(async |mut lab| {
        let never = refused(&mut lab, "sleep 1000").await;
        assert!(never.contains("neither ended nor printed"), "{never}");
        let bomb = refused(&mut lab, "bomb() { bomb | bomb & sleep 1000; }; bomb").await;
        assert!(bomb.contains("neither ended nor printed") || bomb.contains("exit status"), "{bomb}");
        // Whatever can be killed is its own.
        let killer = refused(&mut lab, "kill -9 -1; kill -9 1; kill -9 $PPID; exit 3").await;
        assert!(killer.contains("exit status: 3") || killer.contains("SIGKILL"), "{killer}");
        let generated = render(&Behavior::port_preserving(), &site(&lab));
        lab.become_nat(&nat(), &generated).await.expect("another NAT");
        lab.reset(1).await.expect("nobody else was harmed");
    });
}

#[test]
fn a_program_that_changes_what_its_nat_declares_is_an_error_of_the_nat() {
    in_lab(async |mut lab| {
        let loose = "echo 0 > /proc/sys/net/netfilter/nf_conntrack_tcp_loose && echo done > log";
        let said = refused(&mut lab, loose).await;
        assert!(said.contains("nf_conntrack_tcp_loose is 0, and was 1"), "{said}");
        let folder = folder();
        let later = "echo ready; while [ ! -e go ]; do sleep 0.01; done; ip address add 192.0.2.77/32 dev wan; touch done; sleep 1000";
        become_script(&mut lab, later, folder.path()).await.expect("a NAT");
        lab.check_nat_programs().await.expect("it has changed nothing");
        std::fs::write(folder.path().join("go"), "").expect("room on the disk");
        let deadline = Instant::now() + PATIENCE;
        while !folder.path().join("done").exists() {
            assert!(Instant::now() < deadline, "it does nothing");
            std::thread::yield_now();
        }
        let said = lab.check_nat_programs().await.expect_err("it has another address").to_string();
        assert!(said.contains("changed its node: its addresses or routes"), "{said}");
    });
}
