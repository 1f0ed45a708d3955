//! What a machine can do is found out without leaving a trace, and agrees with whether labs can be built.

use testbed::kernel::preflight::{State, is_sufficient, look};

use super::lab_is_possible;

#[test]
fn a_machine_that_builds_labs_is_said_to_be_sufficient() {
    if !lab_is_possible() {
        return;
    }
    let findings = look();
    let of = |what: &str| findings.iter().find(|f| f.what == what).unwrap_or_else(|| panic!("{what}"));
    for what in ["network namespaces", "PID namespaces", "links", "nftables", "packet sockets"] {
        assert_eq!(of(what).state, State::Works, "{:?}", of(what));
    }
    assert!(is_sufficient(&findings), "{findings:#?}");
    assert!(findings.iter().all(|f| !f.seen.is_empty() && !f.how.is_empty() && !f.needed_for.is_empty()));
}

#[tokio::test]
async fn looking_works_within_a_runtime() {
    let findings = look();
    assert!(findings.iter().any(|f| f.what == "kernel" && f.state == State::Works), "{findings:#?}");
}
