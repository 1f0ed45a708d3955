//! Tells a NAT that loses SYNs from one that refuses them: what is refused stays out when it is sent again.

use crate::model::behavior::{Behavior, Overloading};

use super::finding::Finding;
use super::prober::Losses;

/// SYNs whose loss says nothing of the NAT: what a busy machine may lose, which is far less.
const UNNOTICED: u32 = 3;

/// A NAT that loses fewer than one SYN in so many is not told from one that loses none.
const ONE_IN: u32 = 100;

/// One row; none of a NAT that never shares ports, which may drop a SYN whose fresh port is taken, and draws again.
pub(super) fn loss(losses: Losses, declared: &Behavior) -> Option<Finding> {
    const NONE: &str = "no SYN is lost";
    let Losses { opened, again } = losses;
    let lossy = again > UNNOTICED && again.saturating_mul(ONE_IN) > opened;
    let observed = if lossy {
        format!("{again} of {opened} SYNs vanished, and got out when they were sent again")
    } else {
        NONE.to_owned()
    };
    (declared.overloading == Overloading::On).then(|| Finding::new("loss", NONE, observed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nat_that_loses_one_syn_in_thirty_is_told() {
        let agrees = |again, opened| {
            let row = loss(Losses { opened, again }, &Behavior::port_preserving());
            row.expect("a row").agrees
        };
        assert!(agrees(0, 300) && agrees(3, 20) && agrees(10, 1_000));
        assert!(!agrees(4, 300) && !agrees(11, 1_000));
        let exclusive = Behavior { overloading: Overloading::Off, ..Behavior::port_preserving() };
        assert_eq!(loss(Losses { opened: 300, again: 100 }, &exclusive), None);
    }
}
