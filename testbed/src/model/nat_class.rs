//! Which cells are like each other: those whose NATs are of the same class, with the same method. A change that none of
//! them shows by itself may show in all of them together.

use crate::model::behavior::{Allocation, Behavior, Mapping, Translation};

/// The class of the NATs of one side, innermost first.
fn class<'a>(nats: impl IntoIterator<Item = &'a Behavior>) -> &'static str {
    let mut class = "public";
    for nat in nats {
        match (nat.translation == Translation::Nat, is_predictable(nat)) {
            (false, _) => (),
            (true, true) if class == "public" => class = "predictable",
            (true, true) => (),
            (true, false) => class = "non-predictable",
        }
    }
    class
}

/// Whether the external port of the next mapping can be computed from earlier ones.
fn is_predictable(nat: &Behavior) -> bool {
    nat.mapping == Mapping::EndpointIndependent
        || match nat.allocation {
            Allocation::Preserving | Allocation::Sequential { .. } => true,
            Allocation::Random | Allocation::Hash { .. } => false,
        }
}

/// The cells that a cell is like: `non-predictable + predictable, auto`, whichever side is which.
#[must_use]
pub fn group<'a>(
    a: impl IntoIterator<Item = &'a Behavior>,
    b: impl IntoIterator<Item = &'a Behavior>,
    method: &str,
) -> String {
    let mut sides = [class(a), class(b)];
    sides.sort_unstable();
    format!("{} + {}, {method}", sides[0], sides[1])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::catalogue::Catalogue;

    #[test]
    fn the_worst_nat_of_a_side_decides_and_sides_may_be_swapped() {
        let catalogue = Catalogue::embedded();
        let nats = |names: &[&str]| -> Vec<Behavior> {
            names.iter().map(|name| catalogue.get(name).expect("a NAT of the catalogue").behavior).collect()
        };
        for (a, b, expected) in [
            (&["none"][..], &["firewall"][..], "public + public, m"),
            (&["port-preserving"], &["sequential"], "predictable + predictable, m"),
            (&["eim-random"], &["none"], "predictable + public, m"),
            (&["random", "port-preserving"], &["full-cone"], "non-predictable + predictable, m"),
            (&["full-cone"], &["port-preserving", "random"], "non-predictable + predictable, m"),
            (&["hash-symmetric"], &["symmetric-preserving"], "non-predictable + predictable, m"),
        ] {
            assert_eq!(group(&nats(a), &nats(b), "m"), expected, "{a:?} {b:?}");
        }
    }
}
