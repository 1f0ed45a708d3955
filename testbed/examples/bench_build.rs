//! Measures how long it takes to build, reset and drop the lab of two peers behind two NATs.
//!
//! `sudo target/release/examples/bench_build [ROUNDS]`: medians, with the fastest and the slowest.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::time::{Duration, Instant};

use testbed::kernel::process;
use testbed::lab::nat_rules::{NatSite, render};
use testbed::lab::{Lab, WireEngine};
use testbed::model::address_plan::AddressPlan;
use testbed::model::behavior::Behavior;
use testbed::model::topology::{NodeName, Topology};
use testbed::model::{embedded, topology_file};

type Outcome = Result<(), Box<dyn std::error::Error>>;

/// One column of the table.
struct Column {
    name: &'static str,
    times: Vec<Duration>,
}

fn main() -> Outcome {
    let rounds = std::env::args().nth(1).map_or(Ok(50), |n| n.parse())?;
    process::prepare()?;
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(measure(rounds))
}

async fn measure(rounds: usize) -> Outcome {
    let pair = embedded::find(embedded::TOPOLOGIES, "pair").ok_or("no such topology")?;
    let topology = topology_file::parse(pair.file, pair.text)?;
    let names = ["all", "namespaces", "links", "addresses", "carriers", "rules", "spawn", "reset", "drop"];
    let mut columns: Vec<_> = names.map(|name| Column { name, times: Vec::new() }).into();
    let engine = WireEngine::start()?;
    // While the kernel takes a lab apart, the next one waits for it: so all stand until the last is built.
    let mut labs = Vec::new();
    for _ in 0..rounds {
        let (lab, round) = round(&topology, &engine).await?;
        labs.push(lab);
        for (column, time) in columns.iter_mut().zip(round) {
            column.times.push(time);
        }
    }
    let drops = &mut columns.last_mut().ok_or("no columns")?.times;
    for lab in labs {
        let dropping = Instant::now();
        drop(lab);
        drops.push(dropping.elapsed());
    }
    let mut out = io::stdout().lock();
    writeln!(out, "{:>12} {:>9} {:>9} {:>9}   ms, {rounds} rounds", "", "median", "min", "max")?;
    for Column { name, times } in &mut columns {
        times.sort_unstable();
        let ms = |time: Option<&Duration>| time.map_or(0.0, |t| t.as_secs_f64() * 1000.0);
        let (median, min, max) = (ms(times.get(rounds / 2)), ms(times.first()), ms(times.last()));
        writeln!(out, "{name:>12} {median:>9.3} {min:>9.3} {max:>9.3}")?;
    }
    Ok(())
}

async fn round(
    topology: &Topology,
    engine: &WireEngine,
) -> Result<(Lab, [Duration; 8]), Box<dyn std::error::Error>> {
    let start = Instant::now();
    let nats = |plan: &AddressPlan| {
        let config = |nat: &str| {
            let nat = NodeName::new(nat).expect("a good name");
            let site = NatSite::of(plan, &nat).expect("it has an address");
            (nat, render(&Behavior::port_preserving(), &site))
        };
        Ok(["nat-a", "nat-b"].map(config).into())
    };
    let lab = Lab::build_with_nats(topology, &BTreeSet::new(), nats, engine).await?;
    let all = start.elapsed();
    let peer = lab.node_named("peer-a")?;
    let spawning = Instant::now();
    let mut program = peer.spawn("/bin/true").await?;
    let spawned = spawning.elapsed();
    program.wait().await?;
    let resetting = Instant::now();
    lab.reset(1).await?;
    let reset = resetting.elapsed();
    let times = lab.build_times();
    let round =
        [all, times.namespaces, times.links, times.addresses, times.carriers, times.rules, spawned, reset];
    Ok((lab, round))
}
