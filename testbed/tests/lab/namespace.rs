//! A namespace is a world of its own, reached by its descriptor alone.

use std::fs;
use std::process::Command;

use testbed::kernel::namespace::{Inside, Namespace};
use testbed::kernel::sysctl::{self, Sysctl, Tree};

use super::lab_is_possible;

/// What `/proc/thread-self/ns/net` points at.
fn this_namespace() -> String {
    let link = fs::read_link("/proc/thread-self/ns/net").expect("a network namespace");
    link.to_string_lossy().into_owned()
}

fn forwarding(inside: &Inside) -> u32 {
    sysctl::read(inside, "net.ipv4.ip_forward").expect("a setting that every namespace has")
}

#[test]
fn entering_happens_in_another_world_and_leaves_this_one_alone() {
    if !lab_is_possible() {
        return;
    }
    let outside = this_namespace();
    let (namespace, at_birth) = Namespace::create(|_| this_namespace()).expect("a namespace");
    let later = namespace.enter(|_| this_namespace()).expect("the way in");
    assert_ne!(outside, later);
    assert_eq!(at_birth, later);
    assert_eq!(outside, this_namespace());
}

#[test]
fn settings_belong_to_one_namespace() {
    if !lab_is_possible() {
        return;
    }
    let (a, b) = (Namespace::new().expect("a namespace"), Namespace::new().expect("a namespace"));
    let on = Sysctl::new("net.ipv4.ip_forward", 1);
    a.enter(|inside| on.write(inside)).expect("the way in").expect("a setting to write");
    assert_eq!(a.enter(forwarding).expect("the way in"), 1);
    assert_eq!(b.enter(forwarding).expect("the way in"), 0);
}

#[test]
fn an_unknown_setting_is_named() {
    if !lab_is_possible() {
        return;
    }
    let namespace = Namespace::new().expect("a namespace");
    let wrong = Sysctl::new("net.ipv4.no_such_key", 1);
    let error = namespace.enter(|inside| wrong.write(inside)).expect("the way in").expect_err("no such key");
    assert_eq!(
        error.to_string(),
        "cannot set net.ipv4.no_such_key to 1: open /proc/sys/net/ipv4/no_such_key: \
         No such file or directory (ENOENT)"
    );
}

#[test]
fn what_only_ipv6_lacks_is_passed_over() {
    if !lab_is_possible() {
        return;
    }
    let namespace = Namespace::new().expect("a namespace");
    let settings = ["net.ipv6.conf.no_such_device.disable_ipv6", "net.ipv4.ip_forward"];
    let settings = settings.map(|key| Sysctl::new(key, 1));
    let written =
        namespace.enter(|inside| Tree::of(inside).write_all(&settings).map(|()| forwarding(inside)));
    assert_eq!(written.expect("the way in").expect("all that there is"), 1);
    let wrong = [Sysctl::new("net.ipv4.conf.no_such_device.rp_filter", 1)];
    let refused = namespace.enter(|inside| Tree::of(inside).write_all(&wrong)).expect("the way in");
    assert_eq!(refused.expect_err("no such key").errno(), Some(nix::errno::Errno::ENOENT));
}

#[test]
fn other_tools_find_the_namespace_by_its_path() {
    if !lab_is_possible() {
        return;
    }
    let namespace = Namespace::new().expect("a namespace");
    let inside = namespace.enter(|_| this_namespace()).expect("the way in");
    let net = format!("--net={}", namespace.path());
    let witness = Command::new("nsenter").args([&net, "readlink", "/proc/self/ns/net"]).output();
    let witness = witness.expect("nsenter, which is part of util-linux");
    assert_eq!(String::from_utf8_lossy(&witness.stdout).trim(), inside);
}
