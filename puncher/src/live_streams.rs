//! Streams that are up and not yet decided upon: how many there are, which of them are the peer's, and who has to make room.
//!
//! Anybody can open a stream to a port that listens and say nothing. Such a stream costs a place until somebody needs it:
//! then the address that holds the most places loses its oldest one. A stream whose other end has proved to be the peer
//! never makes room.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;

use crate::sync::lock;

/// Accepted streams of strangers that may stand at once.
pub(crate) const MOST_STRANGERS: usize = 256;

/// A stream that has been up for this long without a word is not expected to say one: at least so long, and this many trips. A
/// hello takes one, and the other side's may have come up one later.
const YOUNG: Duration = Duration::from_millis(500);
const YOUNG_TRIPS: u32 = 4;

#[derive(Debug, Clone, Copy)]
struct Stream {
    since: Instant,
    /// Who opened it, if it was not this side.
    accepted_from: Option<Ipv4Addr>,
    is_proven: bool,
}

/// All streams that are up, by their number.
#[derive(Debug, Clone, Default)]
pub(crate) struct LiveStreams(Arc<Mutex<HashMap<u64, Stream>>>);

/// One of them; dropping it takes it out.
#[derive(Debug)]
pub(crate) struct LiveStream {
    all: LiveStreams,
    id: u64,
}

impl LiveStreams {
    /// A stream has come up.
    pub(crate) fn enter(&self, id: u64, accepted_from: Option<Ipv4Addr>) -> LiveStream {
        let stream = Stream { since: Instant::now(), accepted_from, is_proven: false };
        lock(&self.0).insert(id, stream);
        LiveStream { all: self.clone(), id }
    }

    /// The stream that has to make room before another is accepted; `None` while there is room.
    pub(crate) fn to_make_room(&self) -> Option<u64> {
        let streams = lock(&self.0);
        let strangers = || {
            let unproven = streams.iter().filter(|(_, stream)| !stream.is_proven);
            unproven.filter_map(|(id, stream)| Some((*id, stream.since, stream.accepted_from?)))
        };
        if strangers().count() < MOST_STRANGERS {
            return None;
        }
        let mut places: HashMap<Ipv4Addr, usize> = HashMap::new();
        strangers().for_each(|(_, _, from)| *places.entry(from).or_default() += 1);
        let most =
            strangers().max_by_key(|(id, since, from)| (places[from], std::cmp::Reverse((*since, *id))));
        most.map(|(id, _, _)| id)
    }

    /// Whether one of them may be agreed upon soon, where a trip takes so long.
    pub(crate) fn are_promising(&self, trip: Duration) -> bool {
        let (streams, young) = (lock(&self.0), (trip * YOUNG_TRIPS).max(YOUNG));
        streams.values().any(|stream| stream.is_proven || stream.since.elapsed() < young)
    }

    /// Whether the other end of one of them has proved to be the peer.
    pub(crate) fn have_peer(&self) -> bool {
        lock(&self.0).values().any(|stream| stream.is_proven)
    }
}

impl LiveStream {
    /// Its other end is the peer.
    pub(crate) fn prove(&self) {
        if let Some(stream) = lock(&self.all.0).get_mut(&self.id) {
            stream.is_proven = true;
        }
    }
}

impl Drop for LiveStream {
    fn drop(&mut self) {
        lock(&self.all.0).remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANY: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
    const PEER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);

    #[tokio::test(start_paused = true)]
    async fn whoever_holds_the_most_places_makes_room() {
        let live_streams = LiveStreams::default();
        let mut kept = vec![live_streams.enter(0, Some(PEER)), live_streams.enter(1, None)];
        for id in 2..=MOST_STRANGERS as u64 {
            assert_eq!(live_streams.to_make_room(), None, "{id}");
            tokio::time::advance(Duration::from_millis(1)).await;
            kept.push(live_streams.enter(id, Some(MANY)));
        }
        assert_eq!(live_streams.to_make_room(), Some(2), "its oldest");
        kept[2].prove();
        assert_eq!(live_streams.to_make_room(), None, "the peer's stream takes no stranger's place");
        kept.push(live_streams.enter(1000, Some(MANY)));
        assert_eq!(live_streams.to_make_room(), Some(3));
        kept.remove(3);
        assert_eq!(live_streams.to_make_room(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_that_says_nothing_is_not_waited_for() {
        let live_streams = LiveStreams::default();
        assert!(!live_streams.are_promising(Duration::ZERO));
        let silent = live_streams.enter(1, Some(MANY));
        assert!(live_streams.are_promising(Duration::ZERO) && !live_streams.have_peer());
        tokio::time::advance(YOUNG).await;
        assert!(!live_streams.are_promising(Duration::ZERO));
        assert!(live_streams.are_promising(YOUNG), "its hello may be on its way");
        silent.prove();
        assert!(live_streams.are_promising(Duration::ZERO) && live_streams.have_peer());
        drop(silent);
        assert!(!live_streams.have_peer());
    }
}
