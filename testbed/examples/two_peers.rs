//! Two peers behind two NATs connect to each other at the same time: a TCP simultaneous open through real NATs.
//!
//! `cargo build --example two_peers && target/debug/examples/two_peers`, as root or where user namespaces are allowed.

use std::time::Duration;
use testbed::{Behavior, Command, Conditions, Filtering, Lab, Overloading, Rights, Topology};

const PUNCH: &str = "import socket, sys; socket.create_connection((sys.argv[1], 5000), 20, ('', 5000))";

pub(crate) fn main() -> Result<(), Box<dyn std::error::Error>> {
    testbed::setup(Rights::Any)?.block_on(async {
        let homes = Topology::builder("two-homes").nat("nat-a", "core").nat("nat-b", "core");
        let homes = homes.host("peer-a", "nat-a").host("peer-b", "nat-b");
        let topology = homes.wire("nat-b", Conditions::delayed(Duration::from_millis(20))).build()?;
        let filtering = Filtering::AddressDependent;
        let nat_b = Behavior { filtering, overloading: Overloading::Off, ..Behavior::port_preserving() };
        let lab = Lab::new(&topology).nat("nat-a", "port-preserving").nat("nat-b", nat_b).build().await?;
        let punch = |to| Command::new("python3").args(["-c", PUNCH]).arg(to);
        let a = lab.node("peer-a")?.spawn(punch(lab.address("nat-b")?.to_string())).await?;
        let b = lab.node("peer-b")?.spawn(punch(lab.address("nat-a")?.to_string())).await?;
        assert!(a.output().await?.status.success() && b.output().await?.status.success());
        let seen = lab.evidence()?;
        assert!(seen.packets().any(|(_, packet)| packet.source.port() == 5000 && packet.tcp().is_some()));
        assert!(seen.conntrack.iter().any(|event| event.entry.reply.destination.port() == 5000));
        Ok(())
    })
}
