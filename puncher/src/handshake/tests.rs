use std::cell::Cell;

use proptest::prelude::*;
use tokio::io::{DuplexStream, duplex};

use super::*;
use crate::session::tests::{pair, pair_with};

fn sides() -> (Agreement, Agreement) {
    sides_of(pair())
}

fn sides_of((a, b): (Session, Session)) -> (Agreement, Agreement) {
    let protection = Protection::Encrypted;
    (Agreement::new(a, Role::A, protection), Agreement::new(b, Role::B, protection))
}

async fn run(side: &Agreement, id: u64, stream: &mut DuplexStream) -> Result<AgreedStream, HandshakeError> {
    side.perform(stream, id, || ()).await
}

#[tokio::test]
async fn two_peers_authenticate_agree_and_have_the_same_keys() {
    let (a, b) = sides();
    let (mut left, mut right) = duplex(1024);
    let (at_a, at_b) = tokio::join!(run(&a, 1, &mut left), run(&b, 7, &mut right));
    let (mut at_a, mut at_b) = (at_a.unwrap().keys, at_b.unwrap().keys);
    assert_eq!(at_a.binding, at_b.binding);
    let (mut message, mut plain) = ([0; 64], [0; 64]);
    let length = at_a.send.write_message(b"first", &mut message).unwrap();
    let length = at_b.receive.read_message(&message[..length], &mut plain).unwrap();
    assert_eq!(&plain[..length], b"first", "the application's messages follow the handshake's");
}

#[tokio::test]
async fn each_stream_has_a_binding_of_its_own() {
    let (a, b) = pair();
    let mut bindings = Vec::new();
    for _ in 0..2 {
        let (a, b) = sides_of((a.clone(), b.clone()));
        let (mut left, mut right) = duplex(1024);
        let (at_a, at_b) = tokio::join!(run(&a, 1, &mut left), run(&b, 1, &mut right));
        assert_eq!(at_a.unwrap().keys.binding, at_b.as_ref().unwrap().keys.binding);
        bindings.push(at_b.unwrap().keys.binding);
    }
    assert_ne!(bindings[0], bindings[1]);
}

#[tokio::test(start_paused = true)]
async fn of_several_streams_both_take_the_same() {
    let (a, b) = sides();
    let (mut left1, mut right1) = duplex(1024);
    let (mut left2, mut right2) = duplex(1024);
    let at_a = async {
        tokio::select! {
            Ok(_) = run(&a, 1, &mut left1) => 1,
            Ok(_) = run(&a, 2, &mut left2) => 2,
        }
    };
    let at_b = async {
        tokio::select! {
            Ok(_) = run(&b, 1, &mut right1) => 1,
            Ok(_) = run(&b, 2, &mut right2) => 2,
        }
    };
    let (at_a, at_b) = tokio::join!(at_a, at_b);
    assert_eq!(at_a, at_b);
}

#[tokio::test(start_paused = true)]
async fn silent_strangers_on_the_first_streams_hold_up_neither_side() {
    let (a, b) = sides();
    let began = Instant::now();
    let (mut left1, _silent) = duplex(1024);
    let (_silent, mut right1) = duplex(1024);
    let (mut left2, mut right2) = duplex(1024);
    let at_a = async {
        tokio::select! {
            biased;
            _ = run(&a, 1, &mut left1) => panic!("a stranger was taken for the peer"),
            agreed = run(&a, 2, &mut left2) => agreed,
        }
    };
    let at_b = async {
        tokio::select! {
            biased;
            _ = run(&b, 1, &mut right1) => panic!("a stranger was taken for the peer"),
            agreed = run(&b, 2, &mut right2) => agreed,
        }
    };
    let (at_a, at_b) = tokio::join!(at_a, at_b);
    assert!(at_a.is_ok() && at_b.is_ok());
    assert_eq!(began.elapsed(), std::time::Duration::ZERO, "nobody waited");
}

/// What b returns, a has acknowledged.
#[tokio::test(start_paused = true)]
async fn b_has_no_stream_that_a_has_not_selected() {
    let (a, b) = sides();
    let (mut left, mut right) = duplex(1024);
    let mut session = Box::pin(run(&b, 1, &mut right));
    let KeySource::Exchanged(keys) = &a.keys else { unreachable!("made so") };
    let mut both = tokio::select! {
        both = a.greet(&mut left, keys) => both.unwrap(),
        _ = &mut session => panic!("nothing was selected"),
    };
    tokio::select! {
        confirmed = expect(&mut left, Decision::Confirm, &mut both) => confirmed.unwrap(),
        _ = &mut session => panic!("nothing was selected"),
    }
    // Here a goes away: it had another, or its time was up.
    drop(left);
    assert!(matches!(session.await, Err(HandshakeError::NotSelected)));
}

#[tokio::test]
async fn a_selects_one_stream_only() {
    let (a, b) = sides();
    let (mut left, mut right) = duplex(1024);
    let (at_a, at_b) = tokio::join!(run(&a, 1, &mut left), run(&b, 1, &mut right));
    assert!(at_a.is_ok() && at_b.is_ok());
    let (mut left, mut right) = duplex(1024);
    let late = async {
        let late = run(&a, 2, &mut left).await;
        drop(left);
        late
    };
    let (at_a, at_b) = tokio::join!(late, run(&b, 2, &mut right));
    assert!(matches!(at_a, Err(HandshakeError::NotSelected)));
    assert!(matches!(at_b, Err(HandshakeError::NotSelected)));
}

#[tokio::test]
async fn another_key_or_protection_is_refused() {
    let (a, b) = sides_of(pair_with(1, 2));
    let (mut left, mut right) = duplex(1024);
    let (at_a, at_b) = tokio::join!(run(&a, 1, &mut left), run(&b, 1, &mut right));
    assert!(matches!(at_a, Err(HandshakeError::NotThePeer)));
    assert!(matches!(at_b, Err(HandshakeError::NotThePeer)));
    let (a, b) = pair();
    let a = Agreement::new(a, Role::A, Protection::Encrypted);
    let b = Agreement::new(b, Role::B, Protection::UnprotectedUntilChannelBound);
    let (mut left, mut right) = duplex(1024);
    let (at_a, at_b) = tokio::join!(run(&a, 1, &mut left), run(&b, 1, &mut right));
    assert!(matches!(at_a, Err(HandshakeError::NotThePeer)), "no plain mode can be talked into");
    assert!(matches!(at_b, Err(HandshakeError::NotThePeer)));
}

#[tokio::test]
async fn an_echo_is_refused() {
    for role in [Role::A, Role::B] {
        let (a, b) = sides();
        let side = if role == Role::A { a } else { b };
        let (mut left, mut right) = duplex(1024);
        let echo = async {
            let mut hello = [0; HELLO_BYTES];
            right.read_exact(&mut hello).await.unwrap();
            right.write_all(&hello).await.unwrap();
        };
        let (at_side, ()) = tokio::join!(run(&side, 1, &mut left), echo);
        assert!(matches!(at_side, Err(HandshakeError::NotThePeer)));
    }
}

#[tokio::test]
async fn an_end_in_the_middle_is_an_error_and_proves_nothing() {
    let (a, _) = sides();
    let (mut left, mut right) = duplex(1024);
    let proven = Cell::new(false);
    let cut = async {
        right.write_all(&[0; HELLO_BYTES - 1]).await.unwrap();
        drop(right);
    };
    let (at_a, ()) = tokio::join!(a.perform(&mut left, 1, || proven.set(true)), cut);
    assert!(matches!(at_a, Err(HandshakeError::Io(_))));
    assert!(!proven.get());
}

#[tokio::test]
async fn without_a_word_beforehand_the_keys_are_exchanged_on_the_stream() {
    let side = |role, byte| {
        let meeting = Meeting { name: "m".into(), role, secret: Secret::new([byte; 32]) };
        Agreement::in_band(&meeting, Protection::Encrypted)
    };
    let (mut left, mut right) = duplex(1024);
    let (a, b) = (side(Role::A, 1), side(Role::B, 1));
    let (at_a, at_b) = tokio::join!(run(&a, 1, &mut left), run(&b, 1, &mut right));
    assert_eq!(at_a.unwrap().keys.binding, at_b.unwrap().keys.binding);
    let (mut left, mut right) = duplex(1024);
    let (a, stranger) = (side(Role::A, 1), side(Role::B, 2));
    let (at_a, _) = tokio::join!(run(&a, 1, &mut left), run(&stranger, 1, &mut right));
    assert!(matches!(at_a, Err(HandshakeError::NotThePeer)));
}

/// All that a stranger has heard of one session does not help it in the next.
#[tokio::test]
async fn what_was_said_on_an_earlier_stream_is_refused() {
    let (a, b) = pair();
    let mut hello = [0; HELLO_BYTES];
    let Ok(_) = a.sender(Channel::Stream(Protection::Encrypted)).write_message(&[VERSION], &mut hello) else {
        unreachable!("it opens")
    };
    let (_, fresh) = sides();
    let (_, same) = sides_of((a, b));
    let (mut left, mut right) = duplex(1024);
    left.write_all(&hello).await.unwrap();
    drop(left);
    assert!(matches!(
        run(&fresh, 1, &mut right).await,
        Err(HandshakeError::NotThePeer | HandshakeError::Io(_))
    ));
    // Within the session it opens a direction, and no more: nothing that follows can be made.
    let (mut left, mut right) = duplex(1024);
    left.write_all(&hello).await.unwrap();
    left.write_all(&[7; DECISION_BYTES]).await.unwrap();
    assert!(matches!(run(&same, 1, &mut right).await, Err(HandshakeError::NotThePeer)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_hello_or_decision_altered_anywhere_is_refused(at in 0..HELLO_BYTES + DECISION_BYTES, bit in 0..8u32) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async move {
            let (a, b) = sides();
            let ((mut left, mut at_a), (mut at_b, mut right)) = (duplex(1024), duplex(1024));
            let carry = async {
                let mut said = [0; HELLO_BYTES + DECISION_BYTES];
                let mut hello = [0; HELLO_BYTES];
                at_a.read_exact(&mut hello).await.unwrap();
                at_b.write_all(&hello).await.unwrap();
                at_b.read_exact(&mut said).await.unwrap();
                said[at] ^= 1 << bit;
                at_a.write_all(&said).await.unwrap();
            };
            let at_a = async { tokio::join!(run(&a, 1, &mut left), carry).0 };
            tokio::select! {
                at_a = at_a => assert!(matches!(at_a, Err(HandshakeError::NotThePeer))),
                _ = run(&b, 1, &mut right) => panic!("nothing was selected"),
            }
        });
    }
}
