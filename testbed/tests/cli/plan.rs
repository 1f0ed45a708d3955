//! Plans and lists: no rights needed, nothing run, nothing written.

use testbed::model::statistics::{FALSE_ALARMS_PER_RUN, Rates, RejectionRegion};

use super::{testbed, testbed_in};

#[test]
fn a_plan_names_every_cell_with_its_probability_and_reason() {
    let done = testbed(&["plan", "classic", "--trials", "5"]);
    assert_eq!((done.code, done.stderr.as_str()), (0, ""));
    let predictable = "port-preserving/sequential/simultaneous-open";
    let line = done.stdout.lines().find(|line| line.contains(predictable)).expect("its line");
    assert!(line.contains("100 %") && line.contains("both external ports can be predicted"), "{line}");
    assert!(done.stdout.ends_with("9 cells, 45 trials\n"), "{}", done.stdout);
}

/// Rules that remember mappings have room for fewer than a NAT has ports.
#[test]
fn a_plan_refuses_a_budget_that_a_nat_could_not_remember() {
    let folder = tempfile::tempdir().expect("a folder");
    let plan = |nat: &str, syns: u32| {
        let suite = format!(
            "name = \"one\"\nsummary = \"one cell\"\ntopology = \"pair\"\n\n[axes]\nnat-a = [\"{nat}\"]\n\
             nat-b = [\"port-preserving\"]\nmethod = [\"spray\"]\nbudget-syns = [{syns}]\n"
        );
        std::fs::write(folder.path().join("one.toml"), suite).expect("room on the disk");
        testbed_in(folder.path(), &["plan", "one.toml"])
    };
    let refused = plan("full-cone", 30_000);
    let why = "cannot run the cell full-cone/port-preserving/spray/budget-syns=30000: the NAT \"full-cone\" (nat-a) can remember \
               24576 mappings, and a budget of 30000 SYNs, with what others open behind it, needs 30256";
    assert!(refused.code == 2 && refused.stderr.contains(why), "{} {}", refused.code, refused.stderr);
    assert_eq!([plan("full-cone", 24_000).code, plan("random", 30_000).code], [0, 0]);
}

#[test]
fn a_plan_for_programs_is_json() {
    let done =
        testbed(&["plan", "classic", "--filter", "nat-a=random", "--filter", "nat-b=seq*,port-*", "--json"]);
    let plan: serde_json::Value = serde_json::from_str(&done.stdout).expect("JSON");
    let cells = plan["cells"].as_array().expect("cells");
    let ids: Vec<_> = cells.iter().map(|cell| cell["id"].as_str().expect("an id")).collect();
    assert_eq!(ids, ["random/port-preserving/simultaneous-open", "random/sequential/simultaneous-open"]);
    assert!(cells.iter().all(|cell| cell["expected"]["probability"].as_f64().is_some_and(|p| p < 1e-3)));
}

#[test]
fn filters_leave_out_what_they_deny() {
    let plan = |filters: &[&str]| {
        let filters: Vec<&str> = filters.iter().flat_map(|filter| ["--filter", filter]).collect();
        testbed(&[&["plan", "classic"], filters.as_slice()].concat())
    };
    assert!(plan(&["nat-a!=random"]).stdout.ends_with("6 cells, 120 trials\n"));
    assert!(plan(&["nat-a!=random,seq*", "nat-b=random"]).stdout.ends_with("1 cell, 20 trials\n"));
    plan(&["nat-a!=*"]).refused(4, "nothing to run: nat-a!=* leaves out every cell of \"classic\"");
    plan(&["nat-a!=randm"])
        .refused(2, "cannot filter by nat-a!=randm: no cell of \"classic\" has that value");
    plan(&["nat-a!=randm"]).refused(2, "help: did you mean \"random\"?");
}

#[test]
fn several_suites_and_the_kernel_are_planned_together() {
    let done = testbed(&["plan", "classic", "kernel"]);
    assert_eq!((done.code, done.stderr.as_str()), (0, ""));
    assert!(done.stdout.starts_with("classic  ") && done.stdout.contains("\nkernel  "), "{}", done.stdout);
    assert!(done.stdout.ends_with(" checks\n"), "{}", done.stdout);
    let both: serde_json::Value =
        serde_json::from_str(&testbed(&["plan", "classic", "kernel", "--json"]).stdout).expect("JSON");
    assert_eq!((both[0]["suite"].as_str(), both[1]["suite"].as_str()), (Some("classic"), Some("kernel")));
    assert!(both[1]["checks"].as_array().is_some_and(|checks| checks.len() > 5));
}

#[test]
fn lists_for_programs_are_json() {
    let done = testbed(&["list", "--json"]);
    let listed: serde_json::Value = serde_json::from_str(&done.stdout).expect("JSON");
    let suites = listed["suites"].as_array().expect("suites");
    let classic = suites.iter().find(|suite| suite["name"] == "classic").expect("classic");
    assert_eq!((classic["cells"].as_u64(), classic["trials"].as_u64()), (Some(9), Some(180)));
    assert!(listed["topologies"].as_array().is_some_and(|all| all.iter().any(|one| one["name"] == "pair")));
}

#[test]
fn lists_name_what_comes_with_the_program() {
    let done = testbed(&["list"]);
    assert!(
        done.code == 0 && done.stdout.contains("classic") && done.stdout.contains("pair"),
        "{}",
        done.stdout
    );
    let done = testbed(&["nat", "list"]);
    assert!(done.code == 0 && done.stdout.contains("port-preserving"), "{}", done.stdout);
}

/// Tries everything a few times: where theory gives an interval, `--until-sure` is for what that leaves undecided.
const SHALLOW: &str = "full";

/// Every cell of the other suites that come with testbed can be as expected: its trials would show a total change.
#[test]
fn the_suites_have_enough_trials_to_be_decided() {
    let listed = testbed(&["list"]).stdout;
    let suites = listed.lines().skip(1).take_while(|line| line.starts_with("  "));
    for suite in suites
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| !["kernel", SHALLOW].contains(name))
    {
        let plan: serde_json::Value =
            serde_json::from_str(&testbed(&["plan", suite, "--json"]).stdout).expect("JSON");
        let cells = plan["cells"].as_array().expect("cells");
        let undecided = cells.iter().filter(|cell| !is_decided(cell, cells.len()));
        let names: Vec<&str> = undecided.filter_map(|cell| cell["id"].as_str()).collect();
        assert!(names.is_empty(), "{suite}: {} of {}: {:?}", names.len(), cells.len(), names.first());
    }
}

/// Whether the trials of a planned cell would show a total change. A cell without expectation has a word of its own, and
/// where theory leaves more than half of all rates possible, no reasonable number of trials is enough.
fn is_decided(cell: &serde_json::Value, cells: usize) -> bool {
    let expected = &cell["expected"];
    let Some(probability) = expected["probability"].as_f64() else { return expected.is_null() };
    let end = |key: &str| expected[key].as_f64().unwrap_or(probability);
    let rates = Rates { low: end("low"), high: end("high") };
    let alpha = FALSE_ALARMS_PER_RUN / cells as f64;
    let vague = rates.high - rates.low > 0.5;
    vague
        || RejectionRegion::binomial(cell["trials"].as_u64().expect("trials"), rates, alpha)
            .sees_total_change(rates)
}
