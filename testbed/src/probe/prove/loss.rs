//! Tells a NAT that loses SYNs from one that refuses them: what is refused stays out when it is sent again.

use crate::model::behavior::{Behavior, Overloading};

use super::finding::Finding;
use super::prober::Losses;

/// SYNs whose loss says nothing of the NAT: what a busy machine may lose, which is far less. Of the quick proof's 150 SYNs, a NAT that
/// loses one in 15 loses no more with a probability of 0.01, and one that loses one in 30 with 0.26.
const UNNOTICED: u32 = 3;

/// Nor does the loss of fewer than one in so many. Of the full proof's 1,500 further SYNs, a NAT that loses one in 30 loses no more with
/// a probability below 1e-8.
const ONE_IN: u32 = 100;

/// One row; none of a NAT that never shares ports, which may drop a SYN whose fresh port is taken, and draws again. Nor of one with a
/// quota, which refuses a SYN for as long as the host's other mappings live.
pub(super) fn loss(losses: Losses, declared: &Behavior) -> Option<Finding> {
    const NONE: &str = "no SYN is lost";
    let Losses { opened, again } = losses;
    let lossy = again > UNNOTICED && again.saturating_mul(ONE_IN) > opened;
    let observed = if lossy {
        format!("{again} of {opened} SYNs vanished, and got out when they were sent again")
    } else {
        NONE.to_owned()
    };
    let refuses_at_times = declared.overloading == Overloading::Off || declared.quota.is_some();
    (!refuses_at_times).then(|| Finding::new("loss", NONE, observed))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::statistics::at_most;

    #[test]
    fn the_chances_of_missing_a_loss_are_as_said() {
        let missed = |syns: u64, one_in: f64| {
            let unnoticed = u64::from(UNNOTICED).max(syns / u64::from(ONE_IN));
            at_most(syns, 1.0 / one_in, unnoticed)
        };
        assert!(missed(150, 15.0) < 0.0105, "{}", missed(150, 15.0));
        assert!((0.25..0.27).contains(&missed(150, 30.0)), "{}", missed(150, 30.0));
        assert!(missed(1_500, 30.0) < 1e-8, "{}", missed(1_500, 30.0));
    }

    #[test]
    fn more_than_three_syns_and_more_than_one_in_a_hundred_are_a_loss() {
        let agrees = |again, opened| {
            let row = loss(Losses { opened, again }, &Behavior::port_preserving());
            row.expect("a row").agrees
        };
        assert!(agrees(0, 150) && agrees(3, 20) && agrees(10, 1_000));
        assert!(!agrees(4, 150) && !agrees(11, 1_000));
        let exclusive = Behavior { overloading: Overloading::Off, ..Behavior::port_preserving() };
        assert_eq!(loss(Losses { opened: 150, again: 100 }, &exclusive), None);
        let limited = Behavior { quota: Some(1), ..Behavior::port_preserving() };
        assert_eq!(loss(Losses { opened: 306, again: 6 }, &limited), None, "the quota refused them");
    }
}
