//! What the conditions of a link do to frames: loss, copies, overtaking, a cut.

use std::time::Duration;

use testbed::kernel::clock::monotonic;
use testbed::lab::wire::WireEngine;
use testbed::model::conditions::{Conditions, LinkConditions};
use testbed::model::evidence::{Direction, Fate};

use super::cable::{Cable, bursts_are_possible, receive_until, send_numbers, udp};
use crate::lab::lab_is_possible;

const DATAGRAMS: u32 = 4_000;

/// How far a share of all datagrams may be from its probability: by Hoeffding it is further once in a million times.
fn margin() -> f64 {
    ((2.0 / 1e-6_f64).ln() / (2.0 * f64::from(DATAGRAMS))).sqrt()
}

fn share(count: usize) -> f64 {
    count as f64 / f64::from(DATAGRAMS)
}

/// What arrives of numbered datagrams that go up a link with such conditions, and the cable that they crossed.
fn sent_through(engine: &WireEngine, up: Conditions) -> (Vec<u32>, Cable) {
    let cable = Cable::delayed(engine, Duration::ZERO);
    cable.warm_up();
    let (lower, upper) = cable.udp_pair();
    cable.wire.set_conditions(LinkConditions { up, down: Conditions::default() }).expect("the engine lives");
    cable.begin_epoch(20);
    send_numbers(&lower, DATAGRAMS);
    // The datagram that ends the count must arrive whatever the conditions, and after all the others.
    let last = Conditions { delay: Duration::from_millis(400), ..Conditions::default() };
    cable.wire.set_conditions(LinkConditions { up: last, down: last }).expect("the engine lives");
    lower.send(&u32::MAX.to_be_bytes()).expect("a way out");
    (receive_until(&upper, u32::MAX), cable)
}

/// Pairs in which a later datagram came first.
fn overtakings(numbers: &[u32]) -> usize {
    numbers.windows(2).filter(|pair| pair[1] < pair[0]).count()
}

#[test]
fn loss_takes_its_share_and_each_loss_is_told() {
    if !bursts_are_possible() {
        return;
    }
    let engine = WireEngine::start().expect("an engine");
    let (got, cable) = sent_through(&engine, Conditions { loss: 0.2, ..Conditions::default() });
    let lost = DATAGRAMS as usize - got.len();
    assert!((share(lost) - 0.2).abs() <= margin(), "{lost} of {DATAGRAMS} lost");
    assert_eq!(overtakings(&got), 0);
    let tapped = cable.take();
    assert_eq!(tapped.lost, Vec::<String>::new());
    let told = udp(&tapped.frames, Direction::Up).iter().filter(|frame| frame.fate == Fate::Lost).count();
    assert_eq!(told, lost);
}

#[test]
fn duplication_makes_its_share_of_copies_and_each_is_told() {
    if !bursts_are_possible() {
        return;
    }
    let engine = WireEngine::start().expect("an engine");
    let (mut got, cable) = sent_through(&engine, Conditions { duplication: 0.3, ..Conditions::default() });
    let copies = got.len() - DATAGRAMS as usize;
    assert!((share(copies) - 0.3).abs() <= margin(), "{copies} copies of {DATAGRAMS}");
    got.dedup();
    assert!(got.into_iter().eq(0..DATAGRAMS), "each at least once, and in order");
    let tapped = cable.take();
    let told = tapped.frames.iter().filter(|frame| frame.is_copy).count();
    assert_eq!(told, copies);
}

#[test]
fn jitter_lets_frames_overtake_and_loses_none() {
    if !bursts_are_possible() {
        return;
    }
    let engine = WireEngine::start().expect("an engine");
    let conditions =
        Conditions { jitter: Duration::from_millis(20), ..Conditions::delayed(Duration::from_millis(5)) };
    let (mut got, cable) = sent_through(&engine, conditions);
    assert!(overtakings(&got) > 0);
    got.sort_unstable();
    assert!(got.into_iter().eq(0..DATAGRAMS));
    let tapped = cable.take();
    let spread = udp(&tapped.frames, Direction::Up);
    let delays = spread.iter().take(DATAGRAMS as usize).map(|frame| frame.due - frame.entered);
    assert!(delays.into_iter().all(|delay| (4_999_000..=25_100_000).contains(&delay)));
}

#[test]
fn reordered_frames_skip_the_delay() {
    if !bursts_are_possible() {
        return;
    }
    let engine = WireEngine::start().expect("an engine");
    let conditions = Conditions { reordering: 0.1, ..Conditions::delayed(Duration::from_millis(50)) };
    let (got, cable) = sent_through(&engine, conditions);
    assert!(overtakings(&got) > 0);
    assert_eq!(got.len(), DATAGRAMS as usize);
    let tapped = cable.take();
    let ahead = udp(&tapped.frames, Direction::Up).iter().filter(|f| f.due - f.entered < 40_000_000).count();
    assert!((share(ahead) - 0.1).abs() <= margin(), "{ahead} of {DATAGRAMS} went ahead");
}

#[test]
fn the_same_seed_loses_the_same_frames() {
    if !bursts_are_possible() {
        return;
    }
    let engine = WireEngine::start().expect("an engine");
    let lossy = Conditions { loss: 0.5, ..Conditions::default() };
    let [first, second] = [(), ()].map(|()| sent_through(&engine, lossy).0);
    assert_eq!(first, second);
}

#[test]
fn a_limited_rate_spaces_frames() {
    if !bursts_are_possible() {
        return;
    }
    let engine = WireEngine::start().expect("an engine");
    // 46 bytes a frame, 46 microseconds each.
    let (got, cable) = sent_through(&engine, Conditions { rate: Some(8_000_000), ..Conditions::default() });
    assert!(got.into_iter().eq(0..DATAGRAMS));
    let tapped = cable.take();
    let frames = udp(&tapped.frames, Direction::Up);
    let spaced = frames[..DATAGRAMS as usize].windows(2).all(|pair| pair[1].due - pair[0].due >= 46_000);
    assert!(spaced, "two frames were due closer than the rate allows");
}

#[test]
fn a_link_that_is_down_loses_what_enters() {
    if !lab_is_possible() {
        return;
    }
    let (cable, lower, upper) = Cable::with_sockets(Duration::from_millis(1));
    cable.wire.down_for(Duration::from_secs(3_600)).expect("the engine lives");
    send_numbers(&lower, 3);
    assert_eq!(cable.take().frames.iter().map(|frame| frame.fate).collect::<Vec<_>>(), [Fate::Lost; 3]);
    cable.wire.up().expect("the engine lives");
    lower.send(&9_u32.to_be_bytes()).expect("a way out");
    assert_eq!(receive_until(&upper, 9), Vec::<u32>::new());
}

#[test]
fn a_link_comes_back_by_itself() {
    if !lab_is_possible() {
        return;
    }
    let engine = WireEngine::start().expect("an engine");
    let cable = Cable::delayed(&engine, Duration::ZERO);
    cable.warm_up();
    let listener = cable.listen();
    let cut = Duration::from_millis(300);
    let before = monotonic();
    cable.wire.down_for(cut).expect("the engine lives");
    let [earliest, latest] = [before, monotonic()].map(|begun| begun + cut.as_nanos() as u64);
    // The first SYN is lost; the kernel sends the next one a second later.
    let _stream = cable.connect();
    listener.accept().expect("a connection");
    for frame in cable.take().frames {
        let lost = frame.fate == Fate::Lost;
        assert!(lost || frame.entered >= earliest, "it passed a link that was down: {frame:?}");
        assert!(!lost || frame.entered <= latest, "it was lost on a link that was up: {frame:?}");
    }
}
