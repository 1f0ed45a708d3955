use proptest::prelude::*;

use super::*;

const PLENTY: usize = usize::MAX;

fn shares(total: usize, per_network: usize, per_address: usize) -> Shares {
    Shares::new(Places { total, per_network, per_address }, Members::Anybody)
}

fn address(network: u8, host: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, network, host)
}

fn fill(shares: &mut Shares, ids: std::ops::Range<u64>, from: Ipv4Addr, rank: ClientRank) {
    ids.for_each(|id| shares.add(from, id, rank));
}

#[test]
fn the_limits_of_an_address_and_of_a_network_hold_while_there_is_room() {
    let mut shares = shares(100, 3, 2);
    fill(&mut shares, 0..2, address(1, 1), ClientRank::Stranger);
    assert_eq!(shares.admit(address(1, 1)), Verdict::Full, "the address has its two");
    assert_eq!(shares.admit(address(1, 2)), Verdict::Room);
    fill(&mut shares, 2..3, address(1, 2), ClientRank::Stranger);
    assert_eq!(shares.admit(address(1, 2)), Verdict::Full, "the network has its three");
    assert_eq!(shares.admit(address(1, 3)), Verdict::Instead(0), "the first address has one too many");
    assert_eq!(shares.admit(address(2, 1)), Verdict::Room);
}

#[test]
fn the_largest_address_of_the_largest_network_makes_room_and_its_strangers_first() {
    let mut shares = shares(10, PLENTY, PLENTY);
    fill(&mut shares, 0..5, address(1, 1), ClientRank::Member);
    fill(&mut shares, 5..6, address(1, 1), ClientRank::Stranger);
    fill(&mut shares, 6..7, address(1, 2), ClientRank::Stranger);
    fill(&mut shares, 7..10, address(2, 1), ClientRank::Stranger);
    assert_eq!(shares.admit(address(3, 1)), Verdict::Instead(5));
    shares.remove(address(1, 1), 5);
    shares.add(address(3, 1), 10, ClientRank::Stranger);
    assert_eq!(shares.admit(address(3, 1)), Verdict::Instead(0), "only members are left: the oldest");
}

#[test]
fn a_large_network_replaces_its_own_and_never_others() {
    let mut shares = shares(6, PLENTY, PLENTY);
    fill(&mut shares, 0..1, address(1, 1), ClientRank::Member);
    fill(&mut shares, 1..5, address(2, 1), ClientRank::Member);
    fill(&mut shares, 5..6, address(2, 2), ClientRank::Stranger);
    assert_eq!(shares.admit(address(2, 3)), Verdict::Instead(1), "of its own largest address");
    assert_eq!(shares.admit(address(2, 1)), Verdict::Full, "the largest address itself");
    assert_eq!(shares.admit(address(2, 2)), Verdict::Instead(1));
}

#[test]
fn one_address_alone_replaces_its_oldest_stranger_and_no_member() {
    let mut shares = shares(6, PLENTY, PLENTY);
    fill(&mut shares, 0..2, address(1, 1), ClientRank::Member);
    fill(&mut shares, 2..6, address(1, 1), ClientRank::Stranger);
    assert_eq!(shares.admit(address(1, 1)), Verdict::Instead(2));
}

#[test]
fn where_everybody_holds_one_the_oldest_stranger_without_a_member_makes_room() {
    let mut shares = shares(3, PLENTY, PLENTY);
    shares.add(address(1, 1), 1, ClientRank::Stranger);
    shares.add(address(1, 1), 2, ClientRank::Stranger);
    shares.add(address(2, 1), 3, ClientRank::Stranger);
    shares.promote(address(1, 1), 2);
    assert_eq!(shares.admit(address(2, 1)), Verdict::Instead(3), "1 holds a mapping for member 2");
    shares.remove(address(2, 1), 3);
    shares.add(address(2, 1), 4, ClientRank::Member);
    assert_eq!(shares.admit(address(2, 1)), Verdict::Full, "there are none but members and what is theirs");
    assert_eq!(shares.admit(address(3, 1)), Verdict::Instead(1), "network 1 holds two more than network 3");
}

#[test]
fn members_that_are_proven_stay_while_there_are_strangers() {
    for (members, victim) in [(Members::Anybody, 0), (Members::Proven, 10)] {
        let mut shares = Shares::new(Places { total: 20, per_network: PLENTY, per_address: PLENTY }, members);
        fill(&mut shares, 0..10, address(1, 1), ClientRank::Member);
        (10..20u8).for_each(|id| shares.add(address(id, 1), id.into(), ClientRank::Stranger));
        assert_eq!(shares.admit(address(99, 1)), Verdict::Instead(victim), "{members:?}");
        (10..20u8).for_each(|id| shares.promote(address(id, 1), id.into()));
        assert_eq!(shares.admit(address(99, 1)), Verdict::Instead(0), "{members:?}: there are but members");
    }
}

#[test]
fn a_network_that_holds_little_does_not_replace_its_own_while_older_strangers_are_there() {
    let mut shares = shares(40, PLENTY, PLENTY);
    (0..38u8).for_each(|id| shares.add(address(id, 1), id.into(), ClientRank::Stranger));
    fill(&mut shares, 38..40, address(99, 1), ClientRank::Stranger);
    assert_eq!(shares.admit(address(99, 2)), Verdict::Instead(0), "not the two of its neighbour");
}

/// One step of a random history.
#[derive(Debug, Clone, Copy)]
enum Step {
    Come(Ipv4Addr, ClientRank),
    Join(usize),
    Leave(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let rank = prop_oneof![Just(ClientRank::Stranger), Just(ClientRank::Member)];
    let come = (0..4u8, 0..3u8, rank).prop_map(|(n, h, rank)| Step::Come(address(n, h), rank));
    let step = prop_oneof![4 => come, 1 => any::<usize>().prop_map(Step::Join), 1 => any::<usize>().prop_map(Step::Leave)];
    proptest::collection::vec(step, 1..120)
}

/// Everything by counting, for comparison.
#[derive(Default)]
struct Census(Vec<(ConnectionId, Ipv4Addr, ClientRank)>);

impl Census {
    fn of_address(&self, address: Ipv4Addr) -> usize {
        self.0.iter().filter(|(_, from, _)| *from == address).count()
    }

    fn of_network(&self, address: Ipv4Addr) -> usize {
        self.0.iter().filter(|(_, from, _)| Network::of(*from) == Network::of(address)).count()
    }

    /// What an address may hold when networks, and the addresses of each, are treated alike.
    fn share(&self, of: Ipv4Addr, newcomer: Ipv4Addr, total: usize) -> f64 {
        let all = || self.0.iter().map(|(_, from, _)| *from).chain([newcomer]);
        let networks = all().map(Network::of).collect::<BTreeSet<_>>().len();
        let near: BTreeSet<_> = all().filter(|from| Network::of(*from) == Network::of(of)).collect();
        total as f64 / networks as f64 / near.len() as f64
    }
}

proptest! {
    #[test]
    fn limits_hold_and_no_member_within_its_share_leaves_for_another_address(steps in steps()) {
        const TOTAL: usize = 12;
        let mut shares = shares(TOTAL, 9, 6);
        let mut census = Census::default();
        for (id, step) in (0u64..).zip(steps) {
            match step {
                Step::Come(from, rank) => {
                    match shares.admit(from) {
                        Verdict::Full => continue,
                        Verdict::Room => {}
                        Verdict::Instead(victim) => {
                            let place = census.0.iter().position(|(id, ..)| *id == victim).expect("it is there");
                            let (_, leaving, was) = census.0[place];
                            if was == ClientRank::Member && leaving != from && census.of_network(from) < 9 {
                                let share = census.share(leaving, from, TOTAL);
                                prop_assert!(census.of_address(leaving) as f64 > share);
                            }
                            shares.remove(leaving, victim);
                            census.0.remove(place);
                        }
                    }
                    shares.add(from, id, rank);
                    census.0.push((id, from, rank));
                    prop_assert!(census.0.len() <= TOTAL);
                    prop_assert!(census.of_network(from) <= 9 && census.of_address(from) <= 6);
                }
                Step::Join(which) if !census.0.is_empty() => {
                    let which = which % census.0.len();
                    let (id, from, rank) = &mut census.0[which];
                    *rank = ClientRank::Member;
                    shares.promote(*from, *id);
                }
                Step::Leave(which) if !census.0.is_empty() => {
                    let (id, from, _) = census.0.remove(which % census.0.len());
                    shares.remove(from, id);
                }
                Step::Join(_) | Step::Leave(_) => {}
            }
            prop_assert_eq!(shares.held, census.0.len());
            let largest = census.0.iter().map(|(_, from, _)| census.of_network(*from)).max().unwrap_or(0);
            prop_assert_eq!(shares.by_size.last().map_or(0, |(most, _)| *most), largest);
        }
    }
}
