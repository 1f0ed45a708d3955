//! A run that is split over several machines: which cells are whose, decided alike by all of them. Pure.

use std::fmt;
use std::hash::Hasher as _;
use std::str::FromStr;
use std::time::Duration;

use fnv::FnvHasher;

use crate::model::quantity::digits;
use crate::model::suite::Cell;

/// One of several equal shares of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ShardIndex {
    /// Which, from 1.
    pub index: u32,
    /// Of how many, at least 1.
    pub of: u32,
}

/// What of a run is run here, and how parts of the same run are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    /// The share.
    pub shard: ShardIndex,
    /// Cells of the whole run.
    pub cells: usize,
    /// A digest of the names of these cells and of how often each is tried.
    pub plan: u64,
}

/// Which share is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WantedShard {
    /// The one that was named.
    Named(ShardIndex),
    /// The one that the batch system says, of as many as were named, or as it says.
    Environment(Option<u32>),
}

impl ShardIndex {
    /// All of it.
    pub const WHOLE: Self = Self { index: 1, of: 1 };

    /// Share `index`, from 1.
    ///
    /// # Errors
    /// When there is no such share.
    pub fn new(index: u32, of: u32) -> Result<Self, String> {
        if (1..=of).contains(&index) {
            Ok(Self { index, of })
        } else {
            Err(format!("there is no shard {index} of {of}: they count from 1"))
        }
    }

    /// The positions of this share, of parts that take this long: the longest first, each to the share that has least so far.
    #[must_use]
    pub fn of_times(self, times: &[Duration]) -> Vec<usize> {
        let mut order: Vec<usize> = (0..times.len()).collect();
        order.sort_by_key(|at| (std::cmp::Reverse(times[*at]), *at));
        let mut loads = vec![Duration::ZERO; self.of as usize];
        let mut mine = Vec::new();
        for at in order {
            let least = (0..loads.len()).min_by_key(|shard| loads[*shard]).unwrap_or(0);
            // Cells without any time are shared out evenly, too.
            loads[least] += times[at].max(Duration::from_nanos(1));
            if least + 1 == self.index as usize {
                mine.push(at);
            }
        }
        mine.sort_unstable();
        mine
    }
}

impl Shard {
    /// All cells, each tried so often.
    #[must_use]
    pub fn whole<'a>(cells: impl IntoIterator<Item = (&'a Cell, u32)>) -> Self {
        // FNV-1a: stable over versions and platforms.
        let (mut plan, mut count) = (FnvHasher::default(), 0);
        for (cell, trials) in cells {
            count += 1;
            plan.write(cell.id.as_bytes());
            plan.write(&[0]);
            plan.write(&trials.to_le_bytes());
        }
        Self { shard: ShardIndex::WHOLE, cells: count, plan: plan.finish() }
    }
}

impl WantedShard {
    /// Which share that is, where the environment has these variables.
    ///
    /// # Errors
    /// When the environment names none, or another number of them.
    pub fn find(self, variable: impl Fn(&str) -> Option<String>) -> Result<ShardIndex, String> {
        let of = match self {
            Self::Named(shard) => return Ok(shard),
            Self::Environment(of) => of,
        };
        let number = |name: &str| variable(name).map(|text| parse(name, &text)).transpose();
        if let Some(id) = number("SLURM_ARRAY_TASK_ID")? {
            let first = number("SLURM_ARRAY_TASK_MIN")?.unwrap_or(0);
            let step = number("SLURM_ARRAY_TASK_STEP")?.unwrap_or(1).max(1);
            let of = of.or(number("SLURM_ARRAY_TASK_COUNT")?).ok_or("SLURM_ARRAY_TASK_COUNT is not set")?;
            return ShardIndex::new(id.saturating_sub(first) / step + 1, of);
        }
        if let Some(index) = number("JOB_COMPLETION_INDEX")? {
            let of =
                of.ok_or("Kubernetes does not say of how many: write auto/N, with the job's completions")?;
            return ShardIndex::new(index.saturating_add(1), of);
        }
        Err("neither SLURM_ARRAY_TASK_ID nor JOB_COMPLETION_INDEX is set".to_owned())
    }
}

fn parse(name: &str, text: &str) -> Result<u32, String> {
    digits(text.trim()).ok_or_else(|| format!("{name} is \"{text}\", which is no number"))
}

impl FromStr for WantedShard {
    type Err = String;

    /// Reads `2/8`, `auto` or `auto/8`.
    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || "expected N/M as in 2/8, auto, or auto/M".to_owned();
        let number = |text: &str| digits::<u32>(text).ok_or_else(expected);
        match text.split_once('/') {
            None if text == "auto" => Ok(Self::Environment(None)),
            None => Err(expected()),
            Some(("auto", of)) => Ok(Self::Environment(Some(number(of)?))),
            Some((index, of)) => ShardIndex::new(number(index)?, number(of)?).map(Self::Named),
        }
    }
}

impl fmt::Display for ShardIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn shards_are_a_partition_and_none_has_much_more(
            times in proptest::collection::vec(0u64..10_000, 0..200), of in 1u32..12
        ) {
            let times: Vec<Duration> = times.into_iter().map(Duration::from_millis).collect();
            let shares: Vec<_> =
                (1..=of).map(|index| ShardIndex::new(index, of).expect("a share").of_times(&times)).collect();
            let mut all: Vec<usize> = shares.concat();
            all.sort_unstable();
            prop_assert_eq!(all, (0..times.len()).collect::<Vec<_>>());
            let load = |share: &Vec<usize>| share.iter().map(|at| times[*at]).sum::<Duration>();
            let (most, least) = (shares.iter().map(load).max(), shares.iter().map(load).min());
            let longest = times.iter().max().copied().unwrap_or_default();
            prop_assert!(most.unwrap_or_default() - least.unwrap_or_default() <= longest);
        }
    }

    #[test]
    fn words_and_batch_systems_name_shares() {
        let environment = |pairs: &'static [(&str, &str)]| {
            move |name: &str| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        };
        let find = |word: &str, pairs| {
            word.parse::<WantedShard>()
                .and_then(|wanted| wanted.find(environment(pairs)))
                .map(|s| s.to_string())
        };
        let slurm = &[
            ("SLURM_ARRAY_TASK_ID", "14"),
            ("SLURM_ARRAY_TASK_MIN", "10"),
            ("SLURM_ARRAY_TASK_STEP", "2"),
            ("SLURM_ARRAY_TASK_COUNT", "8"),
        ];
        let kubernetes = &[("JOB_COMPLETION_INDEX", "0")];
        assert_eq!(find("2/8", &[]), Ok("2/8".to_owned()));
        assert_eq!(find("auto", slurm), Ok("3/8".to_owned()));
        assert_eq!(find("auto/8", kubernetes), Ok("1/8".to_owned()));
        for (word, said) in [
            ("auto", "neither SLURM"),
            ("0/8", "there is no shard 0 of 8"),
            ("9/8", "there is no shard 9 of 8"),
            ("2", "expected N/M"),
            ("x/8", "expected N/M"),
        ] {
            assert!(find(word, &[]).is_err_and(|why| why.contains(said)), "{word}");
        }
        assert!(find("auto", kubernetes).is_err_and(|why| why.contains("auto/N")));
        assert!(find("auto/8", &[("JOB_COMPLETION_INDEX", "8")]).is_err());
        assert!(find("auto/8", &[("JOB_COMPLETION_INDEX", "x")]).is_err_and(|why| why.contains("no number")));
    }
}
