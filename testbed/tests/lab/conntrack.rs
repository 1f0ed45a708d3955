//! Connection tracking by netlink: what the kernel records is what we read.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream};

use testbed::kernel::conntrack::{Conntrack, Events, Read};
use testbed::kernel::link::{LOOPBACK, Links};
use testbed::kernel::namespace::{Inside, Namespace};
use testbed::kernel::ruleset::Nft;
use testbed::kernel::sysctl::Sysctl;
use testbed::model::evidence::{CtChange, CtEntry, CtState, Tuple};

use super::lab_is_possible;

/// Any rule that looks at connection state makes the namespace track connections.
const TRACKING: &str = "table ip t {
    chain c {
        type filter hook output priority 0
        ct state new counter
    }
}
";

/// A namespace with a loopback device, tracking connections.
fn namespace() -> (tokio::runtime::Runtime, Namespace) {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("tokio");
    let namespace = Namespace::new().expect("a namespace");
    let links = namespace
        .enter(|inside| {
            let _context = runtime.enter();
            Nft::get().load(inside, TRACKING).expect("good rules");
            Links::open(inside).expect("a socket")
        })
        .expect("the way in");
    runtime.block_on(links.set_up(LOOPBACK)).expect("the loopback device");
    (runtime, namespace)
}

/// Runs a test in such a namespace with a socket that reads its table of connections, where labs are possible.
fn with_conntrack(test: impl FnOnce(&Inside, &Conntrack) + Send) {
    if !lab_is_possible() {
        return;
    }
    let (_runtime, namespace) = namespace();
    let done = namespace.enter(|inside| test(inside, &Conntrack::open(inside).expect("a socket")));
    done.expect("the way in");
}

/// One TCP connection from end to end; returns where it went.
fn connect_once() -> (SocketAddr, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a listener");
    let stream = TcpStream::connect(listener.local_addr().expect("bound")).expect("a connection");
    let ends = (stream.local_addr().expect("connected"), stream.peer_addr().expect("connected"));
    let _accepted = listener.accept().expect("a connection");
    ends
}

#[test]
fn a_connection_is_told_from_its_first_packet_on() {
    if !lab_is_possible() {
        return;
    }
    let (_runtime, namespace) = namespace();
    let (ends, events) = namespace
        .enter(|inside| {
            let events = Events::open(inside).expect("a socket");
            let ends = connect_once();
            let mut seen: Vec<(CtChange, CtEntry)> = Vec::new();
            let read = events.read(|change, entry| seen.push((change, entry))).expect("events");
            assert_eq!(read, Read::Everything);
            (ends, seen)
        })
        .expect("the way in");
    let (change, first) = events.first().expect("at least one event");
    assert_eq!(*change, CtChange::New);
    assert_eq!(first.state, Some(CtState::SynSent));
    let said = (first.original.source.to_string(), first.original.destination.to_string());
    assert_eq!(said, (ends.0.to_string(), ends.1.to_string()));
    assert_eq!(first.reply, first.original.reversed());
    let states: Vec<_> = events.iter().filter_map(|(_, entry)| entry.state).collect();
    assert!(states.contains(&CtState::Established), "{states:?}");
    assert!(events.iter().all(|(_, entry)| entry.id == first.id && entry.id != 0), "one entry, one id");
}

/// Two connections that get the same external endpoint towards the same server: the second SYN finds its place taken.
#[test]
fn an_entry_that_another_one_is_in_the_way_of_is_counted() {
    if !lab_is_possible() {
        return;
    }
    let (_runtime, namespace) = namespace();
    namespace
        .enter(|inside| {
            let conntrack = Conntrack::open(inside).expect("a socket");
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a listener");
            let server = listener.local_addr().expect("bound");
            let rules = format!(
                "table ip n {{ chain c {{ type nat hook postrouting priority srcnat; tcp dport {} \
                 ct direction original snat to 127.0.0.1:5000; }}; }}",
                server.port()
            );
            Nft::get().load(inside, &rules).expect("good rules");
            let before = conntrack.counters().expect("counters");
            let _first = TcpStream::connect(server).expect("a connection");
            assert_eq!(conntrack.counters().expect("counters").since(before).lost_openings(), 0);
            let refused = TcpStream::connect_timeout(&server, std::time::Duration::from_millis(300));
            assert!(refused.is_err(), "{refused:?}");
            let counted = conntrack.counters().expect("counters").since(before);
            assert!(counted.insert_failed >= 1 && counted.lost_openings() >= 1, "{counted:?}");
        })
        .expect("the way in");
}

#[test]
fn what_is_dumped_is_there_until_it_is_flushed() {
    with_conntrack(|_, conntrack| {
        let ends = connect_once();
        let entries = conntrack.dump().expect("a dump");
        let sources: Vec<_> = entries.iter().map(|e| SocketAddr::from(e.original.source)).collect();
        assert_eq!(sources, [ends.0]);
        conntrack.flush(&[]).expect("a flush");
        assert_eq!(conntrack.dump().expect("a dump"), []);
    });
}

#[test]
fn an_entry_is_found_by_its_flow_and_tells_what_time_it_has_left() {
    with_conntrack(|_, conntrack| {
        connect_once();
        let flow = conntrack.dump().expect("a dump")[0].original;
        let left = conntrack.lifetime(&flow).expect("an answer").expect("an entry");
        // The longest is five days, of a connection that stands (nf_conntrack_tcp_timeout_established).
        assert!((1..=432_000).contains(&left.as_secs()), "{left:?}");
        assert_eq!(
            conntrack.lifetime(&flow.reversed()).expect("an answer"),
            Some(left),
            "a flow in its other direction"
        );
        let other = Tuple { destination: SocketAddrV4::new(Ipv4Addr::LOCALHOST, 1), ..flow };
        assert_eq!(conntrack.lifetime(&other).expect("an answer"), None);
    });
}

#[test]
fn an_entry_is_ended_by_its_number_and_its_age_is_told() {
    with_conntrack(|inside, conntrack| {
        Sysctl::new("net.netfilter.nf_conntrack_timestamp", 1).write(inside).expect("a setting");
        let events = Events::of_begins_and_ends(inside).expect("a socket");
        let began = std::time::Instant::now();
        connect_once();
        let entry = conntrack.dump().expect("a dump")[0];
        assert!(
            !conntrack.delete(&entry.original, entry.id.wrapping_add(1)).expect("an answer"),
            "another one"
        );
        std::thread::sleep(std::time::Duration::from_millis(300));
        assert!(conntrack.delete(&entry.original, entry.id).expect("an answer"));
        assert!(!conntrack.delete(&entry.original, entry.id).expect("an answer"), "it is gone");
        let mut told = Vec::new();
        events.read_with_ages(|change, _, lived| told.push((change, lived))).expect("events");
        let [(CtChange::New, None), (CtChange::Destroy, Some(lived))] = told[..] else { panic!("{told:?}") };
        assert!(lived.as_millis() >= 300 && lived <= began.elapsed(), "{lived:?}");
    });
}

#[test]
fn what_is_known_is_forgotten_first_and_the_rest_as_well() {
    with_conntrack(|inside, conntrack| {
        let events = Events::open(inside).expect("a socket");
        for _ in 0..10 {
            connect_once();
        }
        let mut known: Vec<_> = conntrack.dump().expect("a dump").iter().map(|e| e.original).collect();
        assert_eq!(known.len(), 10);
        known.sort_unstable();
        let unknown = known.split_off(7);
        // One that is gone is named as well.
        let gone = Tuple { destination: SocketAddrV4::new(Ipv4Addr::LOCALHOST, 1), ..known[0] };
        known.insert(3, gone);
        conntrack.flush(&known).expect("a flush");
        assert_eq!(conntrack.dump().expect("a dump"), []);
        let mut ended = Vec::new();
        let read = events.read(|change, entry| {
            ended.extend((change == CtChange::Destroy).then_some(entry.original));
        });
        assert_eq!(read.expect("events"), Read::Everything);
        known.remove(3);
        // The kernel would take them in the order of its table.
        assert_eq!(ended[..7], known);
        ended[7..].sort_unstable();
        assert_eq!(ended[7..], unknown);
        // More than are worth being named.
        let many = vec![gone; 10_000];
        connect_once();
        conntrack.flush(&many).expect("a flush");
        assert_eq!(conntrack.dump().expect("a dump"), []);
    });
}

#[test]
fn who_lost_the_right_to_forget_is_told_so() {
    with_conntrack(|_, conntrack| {
        connect_once();
        let known: Vec<_> = conntrack.dump().expect("a dump").iter().map(|e| e.original).collect();
        give_up_all_capabilities();
        let errors = [&known[..], &[]].map(|known| conntrack.flush(known).expect_err("no right").errno());
        assert_eq!(errors, [Some(nix::errno::Errno::EPERM); 2]);
    });
}

/// Of this thread alone.
fn give_up_all_capabilities() {
    /// `_LINUX_CAPABILITY_VERSION_3` of `capability.h`.
    const VERSION: u32 = 0x2008_0522;
    let (mut header, none) = ([VERSION, 0], [0_u32; 6]);
    // SAFETY: both are as large as the kernel takes them for.
    let set = unsafe { libc::syscall(libc::SYS_capset, header.as_mut_ptr(), none.as_ptr()) };
    assert_eq!(set, 0);
}

#[test]
fn events_that_nobody_reads_are_reported_as_lost() {
    if !lab_is_possible() {
        return;
    }
    let (_runtime, namespace) = namespace();
    namespace
        .enter(|inside| {
            let events = Events::open(inside).expect("a socket");
            nix::sys::socket::setsockopt(&events, nix::sys::socket::sockopt::RcvBuf, &4096)
                .expect("a small buffer");
            for _ in 0..50 {
                connect_once();
            }
            assert_eq!(events.read(|_, _| ()).expect("events"), Read::SomeLost);
            assert_eq!(events.read(|_, _| ()).expect("events"), Read::Everything, "told once");
        })
        .expect("the way in");
}
