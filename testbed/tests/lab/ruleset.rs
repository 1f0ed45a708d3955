//! nft text in and out of a namespace, through the library and through the program alike.

use std::process::Command;

use testbed::kernel::Error;
use testbed::kernel::link::{Device, Links};
use testbed::kernel::namespace::{Inside, Namespace};
use testbed::kernel::ruleset::{Nft, SetFlusher};

use super::lab_is_possible;

const MASQUERADE: &str = "table ip nat {
    map eim { type ipv4_addr . inet_service : inet_service; flags dynamic,timeout; timeout 5m; size 65535; }
    map fixed { type inet_service : inet_service; elements = { 1 : 2 }; }
    chain post {
        type nat hook postrouting priority srcnat
        oifname \"wan\" ip protocol tcp masquerade
    }
}
";

/// Runs `work` in a fresh namespace, once for each way to nftables.
fn both_ways(work: impl Fn(&Nft, &Inside) + Sync) {
    if !lab_is_possible() {
        return;
    }
    assert!(matches!(Nft::get(), Nft::Library(_)), "libnftables is part of what the tests need");
    for nft in [Nft::get(), &Nft::Program] {
        Namespace::new().expect("a namespace").enter(|inside| work(nft, inside)).expect("the way in");
    }
}

#[test]
fn rules_are_loaded_and_listed() {
    both_ways(|nft, inside| {
        nft.load(inside, MASQUERADE).expect("good rules");
        let listing = nft.list(inside).expect("a listing");
        assert!(listing.contains("oifname \"wan\" ip protocol tcp masquerade"), "{nft:?}: {listing}");
    });
}

#[test]
fn checking_puts_nothing_into_force() {
    both_ways(|nft, inside| {
        nft.check(inside, MASQUERADE).expect("good rules");
        assert_eq!(nft.list(inside).expect("a listing"), "", "{nft:?}");
    });
}

#[test]
fn replacing_leaves_nothing_of_the_old_rules() {
    both_ways(|nft, inside| {
        nft.load(inside, MASQUERADE).expect("good rules");
        nft.replace(inside, "table ip other {\n}\n").expect("good rules");
        assert_eq!(nft.list(inside).expect("a listing").trim_end(), "table ip other {\n}", "{nft:?}");
    });
}

#[test]
fn a_mistake_is_shown_with_its_line_and_changes_nothing() {
    both_ways(|nft, inside| {
        nft.load(inside, MASQUERADE).expect("good rules");
        let before = nft.list(inside).expect("a listing");
        let wrong = MASQUERADE.replace("masquerade\n", "masquerade fully-randm\n");
        let Err(Error::Refused(refusal)) = nft.replace(inside, &wrong) else {
            panic!("{nft:?} took wrong rules");
        };
        assert_eq!(refusal.line, Some(6), "{nft:?}: {}", refusal.said);
        assert!(refusal.source_line.ends_with("fully-randm"), "{nft:?}: {}", refusal.said);
        assert!(refusal.message.starts_with("syntax error"), "{nft:?}: {}", refusal.said);
        assert_eq!(nft.list(inside).expect("a listing"), before, "{nft:?}");
    });
}

#[test]
fn what_the_kernel_refuses_is_refused() {
    both_ways(|nft, inside| {
        let error = nft.check(inside, "add rule ip nowhere post masquerade\n").expect_err("no such table");
        assert!(error.to_string().contains("No such file or directory"), "{nft:?}: {error}");
    });
}

#[test]
fn dynamic_maps_are_found_and_emptied() {
    both_ways(|nft, inside| {
        nft.load(inside, MASQUERADE).expect("good rules");
        nft.load(inside, "add element ip nat eim { 10.0.0.2 . 5000 : 6000 }\n").expect("an element");
        let sets = nft.dynamic_sets(inside, None).expect("a listing");
        let names: Vec<_> = sets.iter().map(ToString::to_string).collect();
        assert_eq!(names, ["map ip nat eim"], "{nft:?}");
        // A process that is started here is in the namespace of this thread.
        let contents = || {
            let output = Command::new("nft").args(["list", "map", "ip", "nat", "eim"]).output().expect("nft");
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        assert!(contents().contains("10.0.0.2 . 5000"), "{nft:?}: {}", contents());
        let flusher = SetFlusher::open(inside).expect("a socket");
        flusher.flush(&sets).expect("a map to empty");
        assert!(!contents().contains("elements"), "{nft:?}: {}", contents());
        nft.load(inside, "flush ruleset\n").expect("no rules");
        for _ in 0..2 {
            let gone = flusher.flush(&[&sets[..], &sets[..]].concat()).expect_err("the map is gone");
            assert_eq!(gone.errno(), Some(nix::errno::Errno::ENOENT), "{gone}");
        }
    });
}

/// The library waits with select(2), which ends a process that shows it a descriptor beyond 1,023.
#[test]
fn rules_are_loaded_among_more_descriptors_than_select_can_take() {
    if !lab_is_possible() {
        return;
    }
    let most = testbed::kernel::limits::raise_descriptor_limit().expect("a limit");
    assert!(most > 3_000, "a limit of {most} descriptors leaves no room for this test");
    let open = |_| std::fs::File::open("/dev/null").expect("a descriptor");
    let held: Vec<std::fs::File> = (0..libc::FD_SETSIZE + 100).map(open).collect();
    both_ways(|nft, inside| nft.load(inside, MASQUERADE).expect("good rules"));
    drop(held);
}

/// The library keeps one list of devices for the whole process.
#[test]
fn rules_that_know_devices_by_index_do_not_get_in_each_others_way() {
    if !lab_is_possible() {
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.expect("a runtime");
    let with_device = |number: u32| {
        let (namespace, links) = Namespace::create(|inside| {
            let _context = runtime.enter();
            Links::open(inside).expect("a socket")
        })
        .expect("a namespace");
        // The same name is another device in each.
        let name = format!("only{number}");
        for (index, name) in [(10 + number, "both"), (20 + number, name.as_str())] {
            let device = Device { index, name, mac: [2, 0, 0, 0, 0, 1] };
            runtime.block_on(links.add_bridge(device)).expect("a bridge");
        }
        (namespace, name)
    };
    let namespaces: Vec<_> = (0..4).map(with_device).collect();
    std::thread::scope(|scope| {
        for (namespace, own) in &namespaces {
            scope.spawn(move || {
                for _ in 0..25 {
                    let rules =
                        format!("table ip t {{\n chain c {{\n  iif {own} accept\n  iif both drop\n }}\n}}\n");
                    let listing = namespace.enter(|inside| {
                        Nft::get().replace(inside, &rules).expect("good rules");
                        Nft::get().list(inside).expect("a listing")
                    });
                    let listing = listing.expect("the way in");
                    assert!(listing.contains(&format!("iif \"{own}\" accept")), "{listing}");
                    assert!(listing.contains("iif \"both\" drop"), "{listing}");
                }
            });
            // Whoever is done frees what all have.
            scope.spawn(move || {
                let by_name = "table ip s {\n chain c {\n  iifname both accept\n }\n}\n";
                for _ in 0..50 {
                    let load = |inside: &_| Nft::get().check(inside, by_name).expect("good rules");
                    namespace.enter(load).expect("the way in");
                }
            });
        }
    });
}
