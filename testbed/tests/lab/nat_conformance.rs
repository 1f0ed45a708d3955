//! Conformance to the RFCs is measured, and is what each NAT's declaration leads one to expect.

use testbed::model::catalogue::Catalogue;
use testbed::probe::conformance::{Conformance, ConformanceVerdict, RequirementLevel, conform};
use testbed::probe::prove::Subject;

use super::{lab_is_possible, on_benches};

fn conform_all(names: Option<&str>) -> Vec<Conformance> {
    let catalogue = Catalogue::embedded();
    let profiles = catalogue.profiles().filter(|p| names.is_none_or(|name| p.name == name));
    let subjects: Vec<_> = profiles.map(|p| Subject::generated(&p.name, &p.behavior)).collect();
    on_benches(subjects.into_iter().map(conform))
}

#[test]
fn every_nat_passes_and_fails_what_its_declaration_says() {
    if !lab_is_possible() {
        return;
    }
    for result in conform_all(None) {
        assert_eq!(result.error, None, "{}", result.nat);
        for checked in &result.checks {
            let Conformance { nat, .. } = &result;
            assert!(checked.as_expected(), "{nat}, {}: {checked:?}", checked.check.id);
        }
    }
}

#[test]
fn a_bare_masquerade_fails_what_it_is_known_to_fail() {
    if !lab_is_possible() {
        return;
    }
    let results = conform_all(Some("linux-default"));
    let failed: Vec<&str> = results[0]
        .checks
        .iter()
        .filter(|c| c.verdict == ConformanceVerdict::Fail && c.check.level == RequirementLevel::Must)
        .map(|c| c.check.id)
        .collect();
    let known = [
        "RFC 5382 REQ-4",
        "RFC 5382 REQ-5 (established)",
        "RFC 5382 REQ-5 (transitory)",
        "RFC 5382 REQ-7",
        "RFC 5382 REQ-8",
        "RFC 5382 REQ-4 (outbound SYN)",
    ];
    assert_eq!(failed, known);
}

/// A NAT may abandon sessions that are idle; one that abandons others does not conform, after however long a time.
#[test]
fn an_absolute_timeout_fails_the_requirement_about_idle_connections_alone() {
    if !lab_is_possible() {
        return;
    }
    let catalogue = Catalogue::embedded();
    let good = &catalogue.get("rfc5382").expect("it is there").behavior;
    let absolute = |seconds| {
        let mut behavior = *good;
        behavior.timeouts.absolute = Some(std::time::Duration::from_secs(seconds));
        Subject::generated(format!("{seconds} s"), &behavior)
    };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let (established, transitory) = ("RFC 5382 REQ-5 (established)", "RFC 5382 REQ-5 (transitory)");
    let session = "RFC 7857 section 2.2 (session)";
    for (seconds, expected) in [(86_400, vec![established]), (60, vec![established, transitory, session])] {
        let result = runtime.block_on(conform(absolute(seconds)));
        assert!(result.checks.iter().all(testbed::probe::conformance::Checked::as_expected), "{result:#?}");
        let of_timers = [established, transitory, session];
        let failed =
            result.checks.iter().filter(|c| c.verdict == ConformanceVerdict::Fail).map(|c| c.check.id);
        let failed: Vec<&str> = failed.filter(|id| of_timers.contains(id)).collect();
        assert_eq!(failed, expected, "{seconds}");
    }
}

/// One that forgets everything abandons sessions of any age.
#[test]
fn a_nat_that_is_flushed_fails_the_requirements_about_idle_connections() {
    if !lab_is_possible() {
        return;
    }
    let catalogue = Catalogue::embedded();
    let mut behavior = catalogue.get("rfc5382").expect("it is there").behavior;
    behavior.timeouts.flush_every = Some(std::time::Duration::from_secs(86_400));
    let subject = Subject::generated("flushed once a day", &behavior);
    let result = tokio::runtime::Runtime::new().expect("a runtime").block_on(conform(subject));
    assert!(result.checks.iter().all(testbed::probe::conformance::Checked::as_expected), "{result:#?}");
    let verdict = |id: &str| result.checks.iter().find(|c| c.check.id == id).map(|c| c.verdict);
    for id in
        ["RFC 5382 REQ-5 (established)", "RFC 5382 REQ-5 (transitory)", "RFC 7857 section 2.2 (session)"]
    {
        assert_eq!(verdict(id), Some(ConformanceVerdict::Fail), "{id}");
    }
}

#[test]
fn the_profile_rfc5382_meets_every_must() {
    if !lab_is_possible() {
        return;
    }
    let results = conform_all(Some("rfc5382"));
    let musts = results[0].checks.iter().filter(|c| c.check.level == RequirementLevel::Must);
    let failed: Vec<_> =
        musts.filter(|c| c.verdict == ConformanceVerdict::Fail).map(|c| (c.check.id, &c.observed)).collect();
    assert!(failed.is_empty(), "{failed:?}");
}
