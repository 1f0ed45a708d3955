//! What a machine can do is found out without leaving a trace, and agrees with whether labs can be built.

use testbed::kernel::namespace::Namespace;
use testbed::kernel::preflight::{State, is_sufficient, look};
use testbed::kernel::ruleset::Nft;
use testbed::model::catalogue::Catalogue;
use testbed::probe::support::{missing, missing_rules};

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

/// `flowtable` is what kernels are often built without. Whether this one is, loading says as well.
#[test]
fn what_a_kernel_lacks_is_named_with_the_nats_that_need_it() {
    if !lab_is_possible() {
        return;
    }
    let flowtable = "table ip t {\n  flowtable f { hook ingress priority 0; devices = { lo }; }\n}\n";
    let named = |name: &str, rules: &str| (name.to_owned(), rules.to_owned());
    let rulesets = [named("one", flowtable), named("plain", "table ip t { }\n"), named("two", flowtable)];
    let found = missing(&rulesets).expect("answers");
    let namespace = Namespace::new().expect("a namespace");
    let loaded = namespace.enter(|inside| Nft::get().load(inside, flowtable)).expect("the way in");
    match loaded {
        Ok(()) => assert_eq!(found, []),
        Err(_) => {
            assert_eq!(found.len(), 1, "{found:?}");
            assert_eq!(found[0].nats, ["one", "two"]);
            assert!(found[0].rule.starts_with("flowtable f"), "{found:?}");
        }
    }
    // Every other test relies on it.
    assert_eq!(missing_rules(&Catalogue::embedded()).expect("answers"), []);
}
