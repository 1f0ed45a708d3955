//! What mappings show of a NAT, and what is wrong with them.

use super::*;

#[test]
fn a_counter_may_start_again_once() {
    assert_eq!(common_step(&[5, 6, 7, 8]), Some(1));
    assert_eq!(common_step(&[20, 17, 14, 30, 27]), Some(-3));
    assert_eq!(common_step(&[8, 9, 1, 2, 3]), Some(1));
    assert_eq!(common_step(&[8, 9, 1, 2, 9]), None);
    assert_eq!(common_step(&[5, 5, 5]), None);
    assert_eq!(common_step(&[5, 6, 9, 10]), None, "a jump ahead is no new start");
}

#[test]
fn the_example_shows_what_was_read() {
    let remote = |n| SocketAddrV4::new([198, 18, 0, 1 + n / 2].into(), 4_000 + u16::from(n % 2));
    let external = |last: u8, port| SocketAddrV4::new([192, 0, 2, last].into(), port);
    let quartet = |port, addresses: [u8; 4]| -> Quartet {
        let towards = |(n, last): (u8, u8)| (remote(n), (last > 0).then(|| external(last, port)));
        (SocketAddrV4::new([10, 0, 0, 2].into(), port), (0..).zip(addresses).map(towards).collect())
    };
    let said = |quartets: &[Quartet]| example(quartets, classify(quartets)).unwrap_or_default();
    let pool = [quartet(5_000, [2, 2, 2, 2]), quartet(6_000, [2, 3, 3, 3])];
    assert_eq!(
        said(&pool),
        "10.0.0.2:6000 -> 192.0.2.2:6000 towards 198.18.0.1:4000, 192.0.2.3:6000 towards 198.18.0.1:4001, \
         192.0.2.3:6000 towards 198.18.0.2:4000, 192.0.2.3:6000 towards 198.18.0.2:4001"
    );
    let one = [quartet(5_000, [2, 2, 2, 2])];
    assert!(said(&one).starts_with("10.0.0.2:5000 -> :5000 towards 198.18.0.1:4000, "));
    let mixed = [quartet(5_000, [2, 2, 3, 3]), quartet(6_000, [2, 3, 2, 3])];
    assert!(said(&mixed).starts_with("10.0.0.2:6000 -> "));
}

#[test]
fn what_a_quota_refuses_is_another_mapping() {
    let end = |port| SocketAddrV4::new([192, 0, 2, 2].into(), port);
    let told = |ports: [u16; 4]| {
        let all = ports.iter().map(|port| (end(9), (*port > 0).then(|| end(*port)))).collect();
        classify(&[(end(1), all)])
    };
    assert_eq!(told([7, 7, 7, 7]), Mapping::EndpointIndependent);
    assert_eq!(told([7, 7, 0, 0]), Mapping::AddressDependent);
    for ports in [[7, 0, 0, 0], [7, 8, 0, 0], [7, 8, 9, 0]] {
        assert_eq!(told(ports), Mapping::AddressAndPortDependent);
    }
    let opened = |n: u16| (0..4).map(|i| (end(9), (i < n).then(|| end(7)))).collect::<Vec<_>>();
    assert!(is_full(&opened(2), Room::Mappings(2)) && !is_full(&opened(1), Room::Mappings(2)));
    assert!(!is_full(&opened(4), Room::Any));
}

#[test]
fn ports_beside_the_pool_and_empty_ends_are_found() {
    let range = PortRange { low: 1_000, high: 1_999 };
    let declared = Behavior { pool: Pool::Range(range), ..Behavior::port_preserving() };
    let agrees = |ports: &[u16]| judge_pool(&declared, Some(range.into()), ports, Draws::Random).agrees;
    let even: Vec<u16> = (0..100).map(|n| 1_000 + n * 10).collect();
    assert!(agrees(&even));
    assert!(!agrees(&[&even[..], &[2_000]].concat()));
    let lower_half: Vec<u16> = (0..100).map(|n| 1_000 + n * 5).collect();
    assert!(!agrees(&lower_half));
    let few: Vec<u16> = lower_half.iter().step_by(5).copied().collect();
    assert!(agrees(&few), "twenty draws out of one half are no proof");
}

#[test]
fn spread_ports_stay_in_the_range_and_keep_their_distance() {
    let range = PortRange { low: 20_000, high: 20_099 };
    let ports: Vec<i32> = (0..MAPPINGS).map(|n| i32::from(spread(range.into(), n))).collect();
    assert!(ports.iter().all(|p| (20_000..=20_099).contains(p)));
    assert_eq!(common_step(&ports), None);
}

#[test]
fn what_is_not_kept_is_shown_first() {
    let endpoint = |port: u16| SocketAddrV4::new([10, 0, 0, 2].into(), port);
    let flow = |port: u16, to: u16| {
        let (inside, remote) = (endpoint(port), endpoint(9));
        (Flow { side: Side::Inside0, inside, remote, isn: 1 }, endpoint(to))
    };
    let mut opened: Vec<_> = (1..=23).map(|n| flow(5_000 + 7 * n, 5_000 + 7 * n)).collect();
    opened.push(flow(6_000, 40_001));
    assert_eq!(examples(&opened), "23 of 24 kept; 10.0.0.2:6000 -> :40001");
    let said = describe_allocation(&Behavior::port_preserving(), &opened, true);
    assert_eq!(said, "most ports are kept and some are not: the same endpoints get the same ports again");
    let all: Vec<_> = (1..=9).map(|n| flow(n, n + 100)).collect();
    assert!(
        examples(&all).starts_with("0 of 9 kept; 10.0.0.2:1 -> :101, ") && examples(&all).ends_with(", …")
    );
}
