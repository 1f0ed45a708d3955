//! How many NATs whose programs carry packets are measured at the same time. Each packet costs such a program processor time, and
//! one that is late because of the others would be blamed for it.

use std::sync::LazyLock;

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::kernel::processors;
use crate::model::datapath::Datapath;

/// For each processor.
const PROGRAMS: usize = 2;

/// The places of this process.
pub(in crate::probe) static PLACES: LazyLock<Places> =
    LazyLock::new(|| Places::of(PROGRAMS * processors::count()));

/// Places for so many programs.
#[derive(Debug)]
pub(in crate::probe) struct Places(Semaphore);

impl Places {
    fn of(programs: usize) -> Self {
        Self(Semaphore::new(programs))
    }

    /// Waits for a place, and has it as long as what is returned lives. A NAT of the kernel needs none.
    pub(in crate::probe) async fn take(&self, datapath: Datapath) -> Option<SemaphorePermit<'_>> {
        match datapath {
            Datapath::Conntrack => None,
            // It fails only once the semaphore is closed, which nobody does.
            Datapath::Packets | Datapath::Sockets => self.0.acquire().await.ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[test]
    fn a_program_waits_for_its_place_and_a_nat_of_the_kernel_does_not() {
        let places = Places::of(2);
        let take = |datapath| places.take(datapath).now_or_never();
        let first = take(Datapath::Packets).flatten().expect("a place");
        let second = take(Datapath::Sockets).flatten().expect("a place");
        assert!(take(Datapath::Packets).is_none(), "both are taken");
        assert!(matches!(take(Datapath::Conntrack), Some(None)));
        drop(first);
        assert!(take(Datapath::Packets).flatten().is_some());
        drop(second);
    }
}
