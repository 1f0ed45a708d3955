//! What is the same of a packet on both sides of a NAT.

use super::*;

#[test]
fn a_connection_through_an_honest_nat_fits() {
    let data = ("A", 101, 901, 50);
    let drawing = Drawing::stands().out((HOST, REMOTE), Some((EXTERNAL, REMOTE)), data);
    assert_eq!(drawing.says(&plain()), None);
    let crossing = Drawing::opened()
        .back((REMOTE, EXTERNAL), Some((REMOTE, HOST)), SYN_BACK)
        .out((HOST, REMOTE), Some((EXTERNAL, REMOTE)), ("SA", 100, 901, 0))
        .back((REMOTE, EXTERNAL), Some((REMOTE, HOST)), ("SA", 900, 101, 0));
    assert_eq!(crossing.says(&plain()), None);
}

#[test]
fn hops_and_data_are_looked_at() {
    let mut wrong_ttl = Drawing::default();
    wrong_ttl.put(DOWN, Direction::Up, (HOST, REMOTE), SYN, 64);
    wrong_ttl.put(UP, Direction::Up, (EXTERNAL, REMOTE), SYN, 3);
    assert_eq!(wrong_ttl.says(&plain()), Some("hops"));
    let mut changed = Drawing::stands().out((HOST, REMOTE), Some((EXTERNAL, REMOTE)), ("A", 101, 901, 9));
    let last = changed.frames.last_mut().expect("a frame");
    let end = last.bytes.len() - 1;
    last.bytes[end] ^= 1;
    assert_eq!(changed.says(&plain()), Some("rewriting"));
}

#[test]
fn nothing_comes_from_nothing() {
    let drawing = Drawing::opened().made((EXTERNAL, OTHER_PORT), SYN);
    assert_eq!(drawing.says(&plain()), Some("own packets"));
}
