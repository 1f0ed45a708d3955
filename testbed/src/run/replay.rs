//! Which trials are played again, how often, and with how many others at work. Pure.

/// How often a trial that the machine was too slow for is played again before that is its outcome.
pub(super) const MOST_AGAIN: u32 = 3;

/// How many of them work at a time when they are played again for the last time: so few that each has the machine nearly to itself.
const CALM_JOBS: usize = 2;

/// How many work at a time in round number `again`, from 1, of those that are played again: twice as many for each round that is
/// left. Few of those that were void once are so again.
#[must_use]
pub(super) fn calm_jobs(again: u32) -> usize {
    CALM_JOBS << MOST_AGAIN.saturating_sub(again)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_time_is_the_calmest() {
        assert_eq!([1, 2, 3, 9].map(calm_jobs), [8, 4, 2, 2]);
    }
}
