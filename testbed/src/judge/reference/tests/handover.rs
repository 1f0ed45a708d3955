//! A connection that is over gives its external endpoint to a new one.

use super::*;

/// Another socket of the same host.
const OTHER: &str = "10.0.0.2:4001";

/// A SYN whose number is ahead of all that the old connection sent.
const AHEAD: Drawn = ("S", 5_000, 0, 0);

/// A NAT that draws a port for every connection.
fn draws() -> Behavior {
    Behavior {
        mapping: crate::model::behavior::Mapping::AddressAndPortDependent,
        allocation: crate::model::behavior::Allocation::Random,
        ..plain()
    }
}

const FIN_BACK: Drawn = ("FA", 901, 102, 0);

const LAST: Drawn = ("A", 102, 902, 0);

/// The host has closed its end.
fn half_closed() -> Drawing {
    Drawing::stands().out((HOST, REMOTE), Some((EXTERNAL, REMOTE)), ("FA", 101, 901, 0))
}

#[test]
fn a_connection_that_is_over_may_be_given_up_for_a_new_one_and_one_that_lives_may_not() {
    let closed = || {
        let closing = half_closed().back((REMOTE, EXTERNAL), Some((REMOTE, HOST)), FIN_BACK);
        closing.out((HOST, REMOTE), Some((EXTERNAL, REMOTE)), LAST)
    };
    let taken = |drawing: Drawing, syn| drawing.out((OTHER, REMOTE), Some((EXTERNAL, REMOTE)), syn);
    assert_eq!(taken(closed(), AHEAD).says(&draws()), None);
    assert_eq!(taken(closed(), ("S", 50, 0, 0)).says(&draws()), Some("overloading"));
    assert_eq!(taken(Drawing::stands(), AHEAD).says(&draws()), Some("overloading"));
    // The old connection is gone: what comes back is the new one's, and a FIN of the old one goes nowhere.
    let answered =
        || taken(closed(), AHEAD).back((REMOTE, EXTERNAL), Some((REMOTE, OTHER)), ("SA", 7_000, 5_001, 0));
    assert_eq!(answered().says(&draws()), None);
    assert_eq!(answered().out((HOST, REMOTE), None, ("FA", 101, 901, 0)).says(&draws()), None);
    let both = answered().out((HOST, REMOTE), Some((EXTERNAL, REMOTE)), ("FA", 101, 901, 0));
    assert_eq!(both.says(&draws()), Some("invalid-packets"));
}

/// Two processors send the last ACK and the new SYN, and two handle them: what left first was handled first.
#[test]
fn the_last_packet_may_be_handled_before_the_syn_that_came_a_moment_earlier() {
    let crossing = |before_the_fin: bool, leaving: [Drawn; 2]| {
        let mut drawing = half_closed().later(10 * MS);
        let syn = |drawing: &mut Drawing| drawing.put(DOWN, Direction::Up, (OTHER, REMOTE), AHEAD, 64);
        drawing.put(UP, Direction::Down, (REMOTE, EXTERNAL), FIN_BACK, 60);
        if before_the_fin {
            syn(&mut drawing);
        }
        drawing.put(DOWN, Direction::Down, (REMOTE, HOST), FIN_BACK, 59);
        if !before_the_fin {
            syn(&mut drawing);
        }
        drawing.put(DOWN, Direction::Up, (HOST, REMOTE), LAST, 64);
        for drawn in leaving {
            drawing.put(UP, Direction::Up, (EXTERNAL, REMOTE), drawn, 63);
        }
        drawing
    };
    assert_eq!(crossing(false, [AHEAD, LAST]).says(&draws()), Some("overloading"));
    // What the old connection sends later begins another one.
    for before_the_fin in [false, true] {
        let crossed = crossing(before_the_fin, [LAST, AHEAD]);
        let later = crossed.out((HOST, REMOTE), Some(("192.0.2.2:4002", REMOTE)), ("A", 102, 902, 10));
        assert_eq!(later.says(&draws()), None, "{before_the_fin}");
    }
}
