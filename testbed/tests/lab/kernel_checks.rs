//! What the kernel's own NAT does is measured, check by check, and is what this release is known to do.

use testbed::model::event::KernelCheck;
use testbed::probe::kernel_checks::{checks, run};
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
            assert!(check.id.starts_with("flowtable"), "every test needs what {} needs: {lacks}", check.id);
            continue;
        }
        // Distributions take over changes of later releases, so that the number alone does not tell.
        let known =
            checks().any(|c| c.id == check.id && c.expected.iter().any(|(_, w)| *w == check.observed));
        assert!(known, "{}: {} ({})", check.id, check.observed, check.detail);
        if check.since.is_none() {
            assert_eq!(check.observed, check.expected, "{}: {}", check.id, check.detail);
        }
    }
}
