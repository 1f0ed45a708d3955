//! Plans and lists: no rights needed, nothing run, nothing written.

use super::testbed;

#[test]
fn a_plan_names_every_cell_with_its_probability_and_reason() {
    let done = testbed(&["plan", "classic", "--trials", "5"]);
    assert_eq!((done.code, done.stderr.as_str()), (0, ""));
    let predictable = "port-preserving/sequential/simultaneous-open";
    let line = done.stdout.lines().find(|line| line.contains(predictable)).expect("its line");
    assert!(line.contains("100 %") && line.contains("both external ports can be predicted"), "{line}");
    assert!(done.stdout.ends_with("9 cells, 45 trials\n"), "{}", done.stdout);
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
