use super::*;

fn body(text: &str) -> Sealed {
    Sealed { text: text.into(), seal: String::new() }
}

fn seat(label: &str, role: Role) -> Seat {
    Seat { label: label.into(), role, lock: None }
}

fn locked(role: Role, key: Digest) -> Seat {
    Seat { lock: Some(key.lock()), ..seat("m", role) }
}

/// The keys of a side, in the order in which they are used.
fn keys() -> [Digest; 3] {
    [Digest::random(), Digest::random(), Digest::random()]
}

fn message(to: ConnectionId, text: &str) -> Delivery<()> {
    Delivery { held: Some(()), ..Delivery::now(to, Reply::Relay { body: body(text) }) }
}

fn entered(lobby: &mut Lobby<()>, id: ConnectionId, seat: Seat) -> Vec<Delivery<()>> {
    match lobby.join(id, seat) {
        Ok(Joined::In(deliveries)) => deliveries,
        other => panic!("{id} did not get in: {other:?}"),
    }
}

fn both() -> Lobby<()> {
    let mut lobby = Lobby::default();
    entered(&mut lobby, 1, seat("m", Role::A));
    entered(&mut lobby, 2, seat("m", Role::B));
    lobby
}

#[test]
fn a_message_goes_to_the_other_side_only() {
    let mut lobby = both();
    assert_eq!(lobby.relay(1, body("x"), ()), Ok(Some(message(2, "x"))));
}

#[test]
fn a_message_waits_for_a_side_that_has_not_come() {
    let mut lobby = Lobby::default();
    entered(&mut lobby, 1, seat("m", Role::A));
    assert_eq!(lobby.relay(1, body("x"), ()), Ok(None));
    assert_eq!(entered(&mut lobby, 2, seat("m", Role::B)), [message(2, "x")]);
}

#[test]
fn go_comes_when_both_are_ready_and_later_to_the_nearer() {
    let mut lobby = both();
    let ms = Duration::from_millis;
    assert_eq!(lobby.ready(1, 1, ms(5)), Ok(vec![]));
    let go = |to, after| Delivery { after: ms(after), ..Delivery::now(to, Reply::Go { round: 1 }) };
    assert_eq!(lobby.ready(2, 1, ms(30)), Ok(vec![go(1, 25), go(2, 0)]));
    assert_eq!(lobby.ready(2, 2, ms(30)), Ok(vec![]), "round 2 needs both again");
}

#[test]
fn nobody_goes_while_they_mean_different_rounds() {
    let mut lobby = both();
    lobby.ready(1, 1, Duration::ZERO).unwrap();
    assert_eq!(lobby.ready(2, 2, Duration::ZERO), Ok(vec![]));
}

#[test]
fn an_end_is_told_and_frees_the_side() {
    let mut lobby = both();
    assert!(lobby.has_peer(1));
    assert_eq!(lobby.leave(1), [Delivery::now(2, Reply::Gone)]);
    assert!(!lobby.has_peer(2));
    assert_eq!(entered(&mut lobby, 3, seat("m", Role::A)), []);
    lobby.leave(3);
    lobby.leave(2);
    assert_eq!(lobby.meetings(), 0);
}

#[test]
fn what_would_grow_without_bound_is_refused() {
    let mut lobby = Lobby::default();
    assert_eq!(lobby.relay(1, body("x"), ()), Err(Refusal::NotJoined));
    entered(&mut lobby, 1, seat("m", Role::A));
    assert_eq!(lobby.join(1, seat("m", Role::B)), Err(Refusal::JoinedAlready));
    assert_eq!(lobby.join(2, seat("m", Role::A)), Err(Refusal::SideTaken));
    assert_eq!(lobby.join(2, seat("", Role::A)), Err(Refusal::BadLabel));
    assert_eq!(lobby.join(2, seat(&"x".repeat(65), Role::A)), Err(Refusal::BadLabel));
    for _ in 0..KEPT_MESSAGES {
        lobby.relay(1, body("x"), ()).unwrap();
    }
    assert_eq!(lobby.relay(1, body("x"), ()), Err(Refusal::TooManyMessages));
}

#[test]
fn who_has_the_key_takes_a_side_over_and_the_next_needs_the_next_key() {
    let (mut lobby, [first, second, third]) = (Lobby::default(), keys());
    entered(&mut lobby, 1, locked(Role::A, first));
    entered(&mut lobby, 2, seat("m", Role::B));
    assert_eq!(lobby.join(3, locked(Role::A, third)), Ok(Joined::Taken { times: 0 }));
    assert!(lobby.is_claimant(3));
    let taken = lobby.take_over(3, first, second.lock());
    assert_eq!(taken, Ok((Some(1), vec![Delivery::now(2, Reply::Gone)])));
    assert_eq!(lobby.relay(2, body("x"), ()), Ok(Some(message(3, "x"))));
    assert_eq!(lobby.relay(1, body("x"), ()), Err(Refusal::NotJoined), "the first has lost its side");
    assert_eq!(lobby.join(4, locked(Role::A, third)), Ok(Joined::Taken { times: 1 }));
    let overheard = lobby.take_over(4, first, third.lock());
    assert_eq!(overheard, Err(Refusal::WrongKey), "each key is good once");
    assert_eq!(lobby.join(5, locked(Role::A, third)), Ok(Joined::Taken { times: 1 }));
    assert!(lobby.take_over(5, second, third.lock()).is_ok());
    assert_eq!((lobby.meetings(), lobby.has_peer(5)), (1, true));
}

#[test]
fn without_the_key_or_a_lock_nothing_is_taken_over() {
    let (mut lobby, [first, second, third]) = (Lobby::default(), keys());
    entered(&mut lobby, 1, locked(Role::A, first));
    entered(&mut lobby, 2, seat("m", Role::B));
    assert_eq!(lobby.take_over(3, first, second.lock()), Err(Refusal::NotJoined), "it has to ask first");
    assert_eq!(lobby.join(3, seat("m", Role::A)), Err(Refusal::SideTaken));
    assert_eq!(lobby.join(3, locked(Role::B, first)), Err(Refusal::SideTaken), "side b has no lock");
    assert_eq!(lobby.join(3, locked(Role::A, third)), Ok(Joined::Taken { times: 0 }));
    assert_eq!(lobby.take_over(3, third, second.lock()), Err(Refusal::WrongKey));
    assert_eq!(lobby.relay(2, body("x"), ()), Ok(Some(message(1, "x"))), "side a is where it was");
}

#[test]
fn a_side_that_has_become_free_meanwhile_is_simply_taken() {
    let (mut lobby, [first, second, _]) = (Lobby::default(), keys());
    entered(&mut lobby, 1, locked(Role::A, first));
    assert_eq!(lobby.join(2, locked(Role::A, first)), Ok(Joined::Taken { times: 0 }));
    lobby.leave(1);
    assert_eq!(lobby.take_over(2, first, second.lock()), Ok((None, vec![])));
    assert_eq!(lobby.meetings(), 1);
    lobby.leave(2);
    assert_eq!(lobby.meetings(), 0);
}
