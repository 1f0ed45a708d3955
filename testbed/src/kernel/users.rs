//! Users for programs: a number that nobody else on this machine has, for as long as somebody needs it.
//!
//! Limits on processes and rights to signals are per user, so two programs must never share one.

use std::collections::BTreeSet;
use std::fs;

use parking_lot::{Mutex, MutexGuard};

/// The first number that is nobody's: systemd's table of users (docs/UIDS-GIDS.md) leaves 0x70000000 to 0x7fffffff free.
const FIRST: u32 = 0x7000_0000;

/// How many each process of ours has: they must not share any either.
const EACH: u32 = 1 << 12;

/// In a container with few users, the first number: those below are taken by convention.
const FIRST_OF_FEW: u32 = 61_184;

/// The numbers that are in use.
static TAKEN: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());

/// A user, and a group of the same number, until it is dropped.
#[derive(Debug)]
pub(crate) struct User(u32);

impl User {
    /// One that nobody else has; `None` where this process cannot change its user, or all are taken.
    pub(crate) fn take() -> Option<Self> {
        let maps = ["uid_map", "gid_map"]
            .map(|map| fs::read_to_string(format!("/proc/self/{map}")).unwrap_or_default());
        let most = maps.iter().map(|map| highest(map)).min()?;
        let range = range(most, std::process::id())?;
        let mut taken = taken();
        let free = range.into_iter().find(|number| !taken.contains(number))?;
        taken.insert(free);
        Some(Self(free))
    }

    /// Its number.
    pub(crate) fn number(&self) -> u32 {
        self.0
    }
}

impl Drop for User {
    fn drop(&mut self) {
        taken().remove(&self.0);
    }
}

fn taken() -> MutexGuard<'static, BTreeSet<u32>> {
    TAKEN.lock()
}

/// The numbers that a process may use where `most` is the highest that exists.
fn range(most: u32, process: u32) -> Option<std::ops::Range<u32>> {
    let first = FIRST + (process & 0xffff) * EACH;
    if most >= first + (EACH - 1) {
        return Some(first..first + EACH);
    }
    (most > FIRST_OF_FEW).then_some(FIRST_OF_FEW..most.min(FIRST_OF_FEW + EACH))
}

/// The highest number of a map of user_namespaces(7): lines of first inside, first outside, count.
fn highest(map: &str) -> u32 {
    let end = |line: &str| {
        let mut words = line.split_whitespace().map(str::parse::<u32>);
        let (first, count) = (words.next()?.ok()?, words.nth(1)?.ok()?);
        first.checked_add(count.checked_sub(1)?)
    };
    map.lines().filter_map(end).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_do_not_share_users() {
        let most = highest("         0          0 4294967295\n");
        assert_eq!(range(most, 1), Some(0x7000_1000..0x7000_2000));
        assert_eq!(range(most, 0xffff), Some(0x7fff_f000..0x8000_0000));
    }

    #[test]
    fn a_container_has_few_and_an_unprivileged_user_none() {
        assert_eq!(range(highest("0 100000 65536\n"), 7), Some(61_184..65_280));
        assert_eq!(range(highest("0 1000 1\n"), 7), None);
        assert_eq!(range(highest(""), 7), None);
    }

    #[test]
    fn a_number_is_free_again_after_its_user() {
        let Some(one) = User::take() else { return };
        let number = one.number();
        let other = User::take().expect("there are thousands");
        assert_ne!(other.number(), number);
        drop(one);
        assert!(!taken().contains(&number));
    }
}
