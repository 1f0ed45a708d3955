//! What the kernel's own NAT does is measured, check by check, and is what this release is known to do.

use testbed::model::event::KernelCheck;
use testbed::model::kernel_rules::KernelRules;
use testbed::probe::kernel_checks::{CheckSpec, checks, kernel_rules, run};
use testbed::run::environment::environment;

use super::lab_is_possible;

#[test]
fn this_kernel_does_what_its_release_is_known_to_do() {
    if !lab_is_possible() {
        return;
    }
    let mut seen: Vec<KernelCheck> = Vec::new();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(run(checks().collect(), &environment(None).kernel, 2, |check| seen.push(check)));
    assert_eq!(seen.len(), checks().count());
    for check in &seen {
        assert_eq!(check.error, None, "{}", check.id);
        if let Some(lacks) = &check.unsupported {
            let may_lack = ["flowtable", "bridged"].iter().any(|name| check.id.starts_with(name));
            assert!(may_lack, "every test needs what {} needs: {lacks}", check.id);
            continue;
        }
        // Distributions take over changes of later releases, so that the number alone does not tell.
        let of_any_release =
            |c: &CheckSpec| c.expected.iter().any(|(_, words)| words.contains(&check.observed.as_str()));
        let known = checks().any(|c| c.id == check.id && of_any_release(c));
        assert!(known, "{}: {} ({})", check.id, check.observed, check.detail);
        if check.since.is_none() {
            assert!(check.is_as_expected(), "{}: {} ({})", check.id, check.observed, check.detail);
        }
    }
    // What a run goes by is what the checks see, which measure each of them five times.
    let rules = runtime.block_on(kernel_rules()).expect("rules");
    let passes = |id| seen.iter().any(|check| check.id == id && check.observed == "translated");
    let by_checks = KernelRules {
        old_data_passes: passes("data-of-long-ago"),
        old_acknowledgment_passes: passes("acknowledgment-of-long-ago"),
        excess_passes: passes("beyond-the-window"),
        sender_resets_syn: passes("reset-by-the-sender-of-a-syn"),
        closing_resets_pass: passes("reset-in-close"),
        zero_resets_pass: passes("reset-with-number-0"),
    };
    assert_eq!(rules, by_checks);
}
