use super::*;
use crate::classify::tests::seen;
use crate::method::MethodName;
use crate::method::view::tests::side;

const RULES: MeasuringRules = MeasuringRules { low_ports: LowPorts::WhenPermitted, hops: None };

fn planner(external: &[u16]) -> RoundPlanner {
    RoundPlanner::new(side(external), RULES, Instant::now())
}

/// Prepares a round, has every measurement come to nothing, and concludes it.
fn pass_round(planner: &mut RoundPlanner, method: &dyn Method) -> Vec<Measurement> {
    let now = Instant::now();
    let wanted = planner.prepare(method, now);
    for measurement in wanted.clone() {
        assert!(!planner.is_measured(), "measurements are outstanding");
        planner.learn(Fact::Mappings(measurement, Vec::new()));
    }
    assert!(planner.is_measured());
    planner.conclude(None, now);
    planner.punch(true);
    wanted
}

#[test]
fn each_round_measures_what_its_method_and_its_nat_ask_for() {
    use Measurement::{
        FreshPort, FreshPortEverywhere, LowPort, Mapping, RemainingEndpoints, Route, SecondLook,
    };
    let (kept, seen_once, observed, counted, drawn) =
        (&[5000, 5000][..], &[5000][..], &[6000, 6000][..], &[20000, 20001][..], &[36424, 13999][..]);
    let auto = MethodName::Auto;
    let cases: [(_, &[u16], [&[Measurement]; 3]); 10] = [
        (auto, kept, [&[], &[Route], &[FreshPort]]),
        (auto, seen_once, [&[], &[Route, RemainingEndpoints], &[FreshPortEverywhere]]),
        (auto, observed, [&[], &[Route, SecondLook], &[FreshPort]]),
        (auto, counted, [&[], &[Route, Mapping, Mapping, Mapping, Mapping], &[Mapping, Mapping]]),
        (auto, drawn, [&[], &[Route, LowPort, Mapping, Mapping, Mapping, Mapping], &[Mapping, Mapping]]),
        (
            MethodName::Spray,
            drawn,
            [&[Route, Mapping, Mapping, Mapping, Mapping], &[Mapping; 2], &[Mapping; 2]],
        ),
        (MethodName::Spray, observed, [&[Route, SecondLook], &[], &[]]),
        (MethodName::LowPort, drawn, [&[Route, LowPort], &[Mapping; 2], &[Mapping; 2]]),
        (MethodName::LowTtl, kept, [&[Route], &[], &[FreshPort]]),
        (MethodName::SimultaneousOpen, kept, [&[], &[Route], &[FreshPort]]),
    ];
    for (name, external, expected) in cases {
        let (mut planner, method) = (planner(external), name.build(1));
        for (place, expected) in expected.into_iter().enumerate() {
            let measured = pass_round(&mut planner, &*method);
            assert_eq!(measured, expected, "{name}, {external:?}, round {}", place + 1);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_nat_that_counts_is_measured_anew_when_the_last_look_is_old() {
    let (mut planner, method) = (planner(&[20000, 20001]), MethodName::Listen.build(1));
    assert_eq!(planner.prepare(&*method, Instant::now()), [], "fresh");
    let mut stale = self::planner(&[20000, 20001]);
    let later = Instant::now() + STALE * 2;
    assert_eq!(stale.prepare(&*method, later), [Measurement::Mapping]);
    let mut doubtful = self::planner(&[20000, 20007]);
    assert_eq!(doubtful.prepare(&*method, Instant::now()).len(), DOUBTFUL, "a step seen once");
}

#[test]
fn what_the_user_set_is_not_measured() {
    let rules = MeasuringRules { low_ports: LowPorts::Never, hops: Some(5) };
    let own = SideFacts { hops: 5, ..side(&[36424, 13999]) };
    let mut planner = RoundPlanner::new(own, rules, Instant::now());
    let wanted = planner.prepare(&*MethodName::LowPort.build(1), Instant::now());
    assert!(!wanted.contains(&Measurement::LowPort), "{wanted:?}");
    let routers = vec![Some([10, 0, 0, 1].into()), Some([192, 0, 2, 1].into())];
    planner.learn(Fact::Route(RouteTrace { routers, is_own_address: false }));
    assert_eq!(planner.own().hops, 5);
}

#[test]
fn a_second_look_that_differs_shows_a_nat_that_draws() {
    let (mut planner, method) = (planner(&[6000, 6000]), MethodName::Spray.build(1));
    planner.prepare(&*method, Instant::now());
    let mut other = seen(&[1042, 1050]);
    other.iter_mut().for_each(|seen| seen.local.set_port(5001));
    let other = other.into_iter().map(|seen| (Instant::now(), seen)).collect();
    let more = planner.learn(Fact::Mappings(Measurement::SecondLook, other));
    assert_eq!(more, [Measurement::Mapping; DOUBTFUL]);
    assert_eq!(planner.own().local.port(), 5001, "the port of which more is known");
}

#[test]
fn behind_a_nat_that_keeps_a_port_once_each_round_takes_another() {
    let mut planner = planner(&[5000, 41_003]);
    assert!(planner.needs_unspoken_port());
    planner.prepare(&*MethodName::Auto.build(1), Instant::now());
    for port in [7001, 7002] {
        let (_, own) = planner.conclude(Some(port), Instant::now());
        assert!(own.kept_once && own.local.port() == port);
        assert_eq!(own.observations.len(), 1);
        assert_eq!(own.observations[0].external.port(), port);
        assert!(planner.needs_unspoken_port());
    }
    assert!(!self::planner(&[5000, 5000]).needs_unspoken_port());
}

#[test]
fn a_start_counts_only_when_the_peer_has_confirmed_that_round() {
    let mut planner = planner(&[5000, 5000]);
    pass_round(&mut planner, &*MethodName::Auto.build(1));
    assert!(planner.take_peer(1).is_none(), "nothing was confirmed");
    planner.peer_confirms(1, side(&[6000]));
    planner.peer_confirms(7, side(&[6000]));
    assert!(planner.take_peer(7).is_none(), "a round that nobody is near");
    assert!(planner.take_peer(1).is_some());
    assert!(planner.take_peer(1).is_none(), "twice");
    assert!(!planner.is_behind());
    planner.peer_confirms(2, side(&[6000]));
    assert!(planner.is_behind());
}

#[test]
fn few_syns_go_to_an_address_that_nothing_confirms() {
    for (confirmed, expected) in [(true, 100), (false, UNCONFIRMED_SYNS)] {
        let own = SideFacts { syns: 100, ..side(&[5000]) };
        let mut planner = RoundPlanner::new(own, RULES, Instant::now());
        planner.punch(confirmed);
        let spent = (0..1000).filter(|spent| planner.spend_syn(*spent)).count();
        assert_eq!(spent, expected as usize, "{confirmed}");
    }
}

#[test]
fn a_nat_that_draws_still_does_after_many_measurements() {
    let mut observations = seen(&[36424, 13999]);
    for port in 0..20 {
        let mut newer = seen(&[1024 + port * 3001])[0];
        newer.local.set_port(40_000 + port);
        observations.push(newer);
        forget_the_oldest(&mut observations);
        assert_eq!(allocation(&observations), Some(Allocation::Random), "{observations:?}");
    }
    assert_eq!(observations.len(), MOST_OBSERVATIONS);
    assert_eq!(observations.last().unwrap().local.port(), 40_019, "the newest stay");
}

/// What is told has to fit a frame, encrypted and in hexadecimal digits, however many endpoints a server has.
#[test]
fn the_longest_confirmation_fits_a_frame() {
    let far = |text: &str| text.parse().unwrap();
    let mut longest = side(&[65_535; 40]);
    for seen in &mut longest.observations {
        (seen.local, seen.server) = (far("192.168.100.200:65535"), far("203.200.113.201:65535"));
        seen.external = far("198.151.100.200:65535");
    }
    longest.local = far("192.168.100.200:65535");
    longest.low = Some(far("198.151.100.200:65535"));
    longest.addresses = vec!["192.168.200.201".parse().unwrap(); crate::method::private::MOST_ADDRESSES];
    let mut planner = RoundPlanner::new(longest, RULES, Instant::now());
    let (_, told) = planner.conclude(None, Instant::now());
    assert_eq!(told.observations.len(), MOST_OBSERVATIONS);
    let (a, _) = crate::session::tests::pair();
    let sealed = crate::sealed::RelayChannel::new(&a).seal(&told);
    let request = crate::rendezvous::message::Request::Relay { body: sealed };
    let frame = crate::rendezvous::message::frame(&request).unwrap();
    assert!(frame.len() < 3500, "{} bytes", frame.len());
}
