//! Cells that are not run because nobody could tell what came of them: with a NAT of sockets where its trials cannot be judged, or
//! with a program that is told one address of a NAT that has several.

use crate::judge::timeline::Role;
use crate::model::behavior::{Behavior, Filtering, Hairpinning};
use crate::model::catalogue::Catalogue;
use crate::model::datapath::Datapath;
use crate::model::template;
use crate::model::topology::NodeName;
use crate::run::not_run::{NotRun, Refused};
use crate::run::prepared_cell::PreparedCell;
use crate::run::trouble;

/// Cells with a NAT of sockets whose trials cannot be judged.
pub(super) fn beyond_judging(cells: &[PreparedCell], catalogue: &Catalogue) -> Refused {
    let why = |cell: &PreparedCell| {
        let of_sockets =
            |name: &String| catalogue.get(name).filter(|profile| profile.datapath == Datapath::Sockets);
        let nats: Vec<_> =
            cell.setting.nats.iter().filter_map(|(node, name)| Some((node, of_sockets(name)?))).collect();
        let nodes: Vec<&NodeName> = nats.iter().map(|(node, _)| *node).collect();
        let (node, name, only) = nats.into_iter().find_map(|(node, profile)| {
            Some((node, &profile.name, judged_only(cell, &nodes, node, &profile.behavior)?))
        })?;
        Some(NotRun::Broken(format!(
            "NAT \"{name}\" in \"{node}\" ends each connection and opens one of its own (datapath sockets): testbed judges trials with such a \
             NAT only {only}"
        )))
    };
    refused(cells, why)
}

/// What a NAT of sockets would have to be for its trials to be judged, if it is something else. `nodes` are all of the cell's that
/// have such a NAT.
fn judged_only(
    cell: &PreparedCell,
    nodes: &[&NodeName],
    node: &NodeName,
    declared: &Behavior,
) -> Option<&'static str> {
    let closed =
        declared.filtering == Filtering::AddressAndPortDependent && declared.hairpinning == Hairpinning::Off;
    if !closed || cell.common.contains_key(node) {
        return Some(
            "where it is on one peer's side alone, and lets in nobody but whom the inside has sent to",
        );
    }
    if declared.addresses.count > 1 {
        return Some("where it has one external address");
    }
    let [a, b] = cell.vantages().map(|side| &side.nats);
    let of_side = |side: &&Vec<NodeName>| nodes.iter().filter(|node| side.contains(node)).count();
    if [a, b].into_iter().any(|side| side.contains(node) && of_side(&side) > 1) {
        return Some(
            "where no other such NAT is on the same side: one connection of a program becomes one of each of them",
        );
    }
    // The kernel of its node stands in for the peer, and a host neither restarts nor gets another address.
    (trouble::changes_nat(cell) && a.last() == Some(node))
        .then_some("where testbed neither restarts it nor gives it another address")
}

/// Cells whose programs are told the one address of a node that has several.
pub(super) fn without_one_address(cells: &[PreparedCell]) -> Refused {
    refused(cells, |cell| {
        let program = &cell.part.program;
        let input = program.stdin.as_ref().map(|input| &input.text);
        let mut words = program.commands().flatten().chain(input);
        words.find_map(|word| ambiguous(cell, word)).map(|(placeholder, whose)| {
            NotRun::Broken(format!(
                "a program is told an address by {{{placeholder}}}, and {whose} has several: which of them a connection has, only its \
                 packets show. Use a program that learns the address of its peer from a server, or NATs with one external address"
            ))
        })
    })
}

/// The placeholder of a template that stands for the address of a NAT which has several, and whose address that is.
fn ambiguous(cell: &PreparedCell, word: &str) -> Option<(String, String)> {
    let peer = Role::BOTH.into_iter().find(|role| cell.peer(*role).public.count > 1);
    if let Some(role) = peer.filter(|_| template::uses(word, "peer_ip")) {
        return Some(("peer_ip".to_owned(), format!("the outermost NAT of peer {}", role.letter())));
    }
    let pools = &cell.setting.addressing.pools;
    let node =
        template::nodes_of(word).into_iter().find(|node| pools.keys().any(|with| with.as_str() == *node))?;
    Some((format!("{}{node}", template::ADDRESS_OF), format!("the NAT in \"{node}\"")))
}

fn refused(cells: &[PreparedCell], why: impl Fn(&PreparedCell) -> Option<NotRun>) -> Refused {
    cells.iter().enumerate().filter_map(|(at, cell)| Some((at, why(cell)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::embedded;
    use crate::model::suite_file::{self, KnownNames};
    use crate::model::theory::METHODS;

    const NATS: &str = "
        [nat.split]
        summary = \"a NAT of sockets\"
        command = [\"/bin/true\"]
        datapath = \"sockets\"

        [nat.split-pool]
        summary = \"one with two addresses\"
        command = [\"/bin/true\"]
        datapath = \"sockets\"
        addresses = 2

        [nat.pool]
        summary = \"rules with two addresses\"
        addresses = 2
    ";

    /// Why the one cell of a suite is not run.
    fn why(topology: &str, axes: &str, program: &str) -> Option<String> {
        let own = Catalogue::parse(NATS, "nats.toml").unwrap_or_else(|problems| panic!("{problems}"));
        let catalogue = Catalogue::embedded().with(own);
        let names: Vec<&str> = catalogue.profiles().map(|profile| profile.name.as_str()).collect();
        let found = |name: &str| {
            let found = embedded::find(embedded::TOPOLOGIES, name).ok_or("no such topology")?;
            Ok((found.file.to_owned(), found.text.to_owned()))
        };
        let known = KnownNames { nats: &names, methods: METHODS, topology: &found, path: &|_, _| Ok(()) };
        let text = format!(
            "name = \"one\"\nsummary = \"one cell\"\ntopology = \"{topology}\"\ntrials = 1\n[axes]\n{axes}\n\
             method = [\"auto\"]\n{program}"
        );
        let suite =
            suite_file::parse("one.toml", &text, &known).unwrap_or_else(|problems| panic!("{problems:?}"));
        let ready = |cell| PreparedCell::new(&suite, &catalogue, cell).expect("a good cell");
        let cells: Vec<PreparedCell> = suite.cells().iter().map(ready).collect();
        assert_eq!(cells.len(), 1);
        let mut refused = beyond_judging(&cells, &catalogue);
        refused.extend(without_one_address(&cells));
        refused.remove(&0).and_then(NotRun::error)
    }

    #[test]
    fn a_nat_of_sockets_is_refused_where_its_trials_cannot_be_judged() {
        let pair = |a: &str, more: &str| format!("nat-a = [\"{a}\"]\nnat-b = [\"random\"]\n{more}");
        let cgn = |home: &str, cgn: &str, more: &str| {
            format!("home-a = [\"{home}\"]\ncgn = [\"{cgn}\"]\nnat-b = [\"random\"]\n{more}")
        };
        let changed = |how: &str| format!("trouble = [\"nat-a-{how}\"]");
        for (topology, axes, expected) in [
            ("pair", pair("split", ""), None),
            ("pair", pair("split", "trouble = [\"link-a-down\"]"), None),
            ("pair", pair("split", &changed("restarts")), Some("neither restarts it nor")),
            ("pair", pair("split", &changed("renumbered")), Some("neither restarts it nor")),
            ("pair", pair("random", &changed("restarts")), None),
            ("pair", pair("split-pool", ""), Some("one external address")),
            ("behind-cgn", cgn("split", "random", ""), None),
            ("behind-cgn", cgn("split", "random", &changed("restarts")), None),
            ("behind-cgn", cgn("random", "split", &changed("restarts")), Some("in \"cgn\" ends")),
            ("behind-cgn", cgn("split", "split", ""), Some("no other such NAT is on the same side")),
        ] {
            let why = why(topology, &axes, "");
            let said = |expected: &str| why.as_ref().is_some_and(|why| why.contains(expected));
            assert!(expected.map_or(why.is_none(), said), "{axes}: {why:?}");
        }
    }

    #[test]
    fn a_program_that_is_told_one_address_of_several_is_refused() {
        let program = |peer: &str, more: &str| {
            format!("[program]\njudge = \"exit\"\npeer = [\"/bin/true\", \"{peer}\"]\n{more}")
        };
        for (nats, program, expected) in [
            (["random", "pool"], String::new(), None),
            (["random", "pool"], program("{peer_port}", ""), None),
            (["random", "random"], program("{peer_ip}", ""), None),
            (["random", "pool"], program("{peer_ip}", ""), Some("the outermost NAT of peer b has several")),
            (["pool", "random"], program("{peer_ip}", ""), Some("the outermost NAT of peer a has several")),
            (["pool", "random"], program("{ip:nat-b}", ""), None),
            (["pool", "random"], program("{ip:nat-a}", ""), Some("{ip:nat-a}, and the NAT in \"nat-a\" has")),
            (["pool", "random"], program("x", "stdin = \"{peer_ip}\"\n"), Some("{peer_ip}")),
        ] {
            let axes = format!("nat-a = [\"{}\"]\nnat-b = [\"{}\"]", nats[0], nats[1]);
            let why = why("pair", &axes, &program);
            let said = |expected: &str| why.as_ref().is_some_and(|why| why.contains(expected));
            assert!(expected.map_or(why.is_none(), said), "{axes} {program}: {why:?}");
        }
    }
}
