//! Ports that collide: the proof tells a counter from chance, and finds one that is neither.

use testbed::lab::nat_rules::render;
use testbed::model::axis::NatAxis;
use testbed::model::behavior::{Behavior, Collision, Mapping, Overloading, Pool, PortRange};
use testbed::probe::prove::{Depth, Subject, site};

use super::lab_is_possible;
use super::nat_proof::{names, prove_all, table};

/// A NAT that keeps each port once, and copes so with ports that collide.
pub(crate) fn colliding(collision: Collision) -> Behavior {
    Behavior {
        mapping: Mapping::AddressAndPortDependent,
        collision,
        pool: Pool::Range(PortRange { low: 20_000, high: 20_499 }),
        overloading: Overloading::Off,
        ..Behavior::port_preserving()
    }
}

/// A NAT with the rules of `rules_of`, changed, that declares what `declared` does.
fn altered(
    name: &str,
    declared: Behavior,
    rules_of: Behavior,
    change: impl Fn(&str) -> String,
) -> (Subject, Subject) {
    let honest = render(&rules_of, &site());
    let mut config = honest.clone();
    config.ruleset = change(&honest.ruleset);
    if declared == rules_of {
        assert_ne!(config, honest, "{name}: nothing was changed");
    }
    let of = |name: String, declared, config| Subject { name, declared, config };
    (of(name.to_owned(), declared, config), of(format!("{name}: honest"), rules_of, honest))
}

/// Every second port of a counter.
fn by_two(rules: &str) -> String {
    let double = |pair: &str| match pair.split_once(" : ") {
        Some((place, _)) => {
            let place = place.trim().parse::<u32>().expect("a position");
            format!("{place} : {}", 20_000 + 2 * place % 500 + u32::from(place >= 250))
        }
        None => pair.to_owned(),
    };
    let line = |line: &str| match line.contains(" : 2") && !line.contains("snat") {
        true => {
            line.split(", ").map(|pair| double(pair.trim_end_matches(','))).collect::<Vec<_>>().join(", ")
                + ","
        }
        false => line.to_owned(),
    };
    rules.lines().map(|text| line(text) + "\n").collect()
}

/// A counter that gives ports that somebody has: after the look at the own port, none is skipped.
fn without_skipping(rules: &str) -> String {
    let mut looks = std::collections::BTreeMap::new();
    let stays = |line: &&str| {
        let seen: &mut u32 = looks.entry(line.to_string()).or_default();
        *seen += 1;
        let skips = line.contains("jump next_port") && *seen > 1;
        !line.contains("@taken") || !(skips || line.contains("drop"))
    };
    rules.lines().filter(stays).map(|line| format!("{line}\n")).collect()
}

#[test]
fn ports_that_collide_are_given_as_declared() {
    if !lab_is_possible() {
        return;
    }
    let mut honest = Vec::new();
    for mapping in Mapping::ALL.iter().copied() {
        for collision in Collision::ALL.iter().copied() {
            for range in [(20_000, 20_063), (20_000, 20_999), (4_000, 20_383)] {
                let pool = Pool::Range(PortRange { low: range.0, high: range.1 });
                let declared = Behavior { mapping, pool, ..colliding(collision) };
                honest.push(Subject::generated(format!("{declared:?}"), &declared));
            }
        }
        let pool = Pool::Kernel;
        let declared = Behavior { mapping, pool, ..colliding(Collision::Random) };
        honest.push(Subject::generated(format!("{declared:?}"), &declared));
    }
    for result in prove_all(honest, Depth::Quick) {
        assert!(result.holds(), "{}", table(&result));
        let row = result.rows.iter().find(|row| row.axis == NatAxis::Collision.name());
        assert!(row.is_some_and(|row| !row.observed.contains("not looked at")), "{}", table(&result));
    }
}

#[test]
fn ports_that_collide_and_are_given_otherwise_are_found_by_the_quick_proof() {
    if !lab_is_possible() {
        return;
    }
    let counts = |mapping| Behavior { mapping, ..colliding(Collision::Sequential) };
    let draws = |mapping| Behavior { mapping, ..colliding(Collision::Random) };
    let mut subjects = Vec::new();
    for mapping in Mapping::ALL.iter().copied() {
        let (counts, draws) = (counts(mapping), draws(mapping));
        subjects.extend([
            altered("draws", counts, draws, str::to_owned),
            altered("counts", draws, counts, str::to_owned),
            altered("counts by two", counts, counts, by_two),
            altered("counts by two, and declares to draw", draws, counts, by_two),
            altered("skips nothing", counts, counts, without_skipping),
        ]);
    }
    let (wrong, honest): (Vec<Subject>, Vec<Subject>) = subjects.into_iter().unzip();
    for result in prove_all(honest, Depth::Quick) {
        assert!(result.holds(), "{}", table(&result));
    }
    for result in prove_all(wrong, Depth::Quick) {
        assert!(names(&result, NatAxis::Collision), "{}", table(&result));
    }
}
