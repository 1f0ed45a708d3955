//! Building and dropping a lab of five nodes with two NATs, beside the same made by plain commands.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use testbed::kernel::namespace::Namespace;
use testbed::lab::nat_rules::{NatConfig, NatSite, render};
use testbed::lab::{Lab, WireEngine};
use testbed::model::address_plan::AddressPlan;
use testbed::model::catalogue::Catalogue;
use testbed::model::topology::{NodeName, Topology};
use tokio::runtime::Runtime;

use crate::runs;
use crate::table::Table;

/// Labs that are built of each kind.
const LABS: usize = 40;

/// Labs that are built one after the other before they are taken apart.
const IN_A_ROW: usize = 5;

/// The NAT on both sides: the kernel's masquerade, keeping ports.
const NAT: &str = "port-preserving";

pub(crate) fn pair() -> Topology {
    Topology::named("pair").expect("it is embedded")
}

/// What builds labs: the thread of their wires, and a runtime.
pub(crate) struct Builder {
    pub(crate) engine: WireEngine,
    pub(crate) runtime: Runtime,
    pub(crate) topology: Topology,
}

impl Builder {
    pub(crate) fn new() -> Self {
        Self {
            engine: WireEngine::start().expect("a thread"),
            runtime: testbed::setup(testbed::Rights::Own).expect("labs are possible here"),
            topology: pair(),
        }
    }

    /// A lab with both NATs' rules.
    pub(crate) fn build(&self) -> Lab {
        let lab = Lab::new(&self.topology).engine(&self.engine).nat("nat-a", NAT).nat("nat-b", NAT);
        self.runtime.block_on(lab.build()).expect("a lab")
    }
}

/// Makes nodes of a lab NATs of the catalogue.
pub(crate) fn set_nats(lab: &mut Lab, nats: [(&str, &str); 2]) {
    let configs = configs(lab.plan(), nats);
    lab.set_nats(&configs).expect("rules");
}

fn configs(plan: &AddressPlan, nats: [(&str, &str); 2]) -> BTreeMap<NodeName, NatConfig> {
    let catalogue = Catalogue::embedded();
    let config = |(node, nat): (&str, &str)| {
        let node = NodeName::new(node).expect("a good name");
        let behavior = catalogue.get(nat).expect("it is in the catalogue").behavior;
        let site = NatSite::of(plan, &node).expect("an address");
        (node, render(&behavior, &site))
    };
    nats.map(config).into()
}

pub(crate) fn build(table: &mut Table) {
    let builder = Builder::new();
    drop(builder.build());
    let idle = Idle::learn();
    // While the kernel takes labs apart the next one waits for it. So all start when nothing is left of those before, and
    // build the same number in a row; and they take turns, so that a machine that is slower for a while is so for all.
    let (mut built, mut dropped, mut plain, mut batch) = (vec![], vec![], vec![], vec![]);
    for _ in 0..LABS / IN_A_ROW {
        idle.wait();
        let mut labs = Vec::new();
        for _ in 0..IN_A_ROW {
            let start = Instant::now();
            labs.push(builder.build());
            built.push(start.elapsed());
        }
        for lab in labs {
            let start = Instant::now();
            drop(lab);
            dropped.push(start.elapsed());
        }
        for (name, times) in [("plain.sh", &mut plain), ("batch.sh", &mut batch)] {
            idle.wait();
            times.push(script(name));
        }
    }
    let ours = table.add_times("lab of 5 nodes, 2 masquerade NATs, 2 wires: build", &built);
    table.add_times("the same: drop", &dropped);
    let by_commands = table.add_times("the same by single ip, sysctl and nft commands: build", &plain);
    let by_batch = table.add_times("the same by ip -batch, sysctl and nft -f: build", &batch);
    table.add("single commands against ours", "times", vec![by_commands / ours]);
    table.add("batches against ours", "times", vec![by_batch / ours]);
    runs::labs_in_turns(table);
}

/// Whether the kernel has nothing to take apart: a namespace then takes as long as at the beginning.
struct Idle(Duration);

impl Idle {
    const LOOKS: usize = 10;
    const PATIENCE: Duration = Duration::from_secs(20);

    fn learn() -> Self {
        let mut times: Vec<_> = (0..Self::LOOKS).map(|_| namespace_time()).collect();
        times.sort_unstable();
        Self(times[Self::LOOKS / 2])
    }

    fn wait(&self) {
        let start = Instant::now();
        let is_idle = || (0..Self::LOOKS).all(|_| namespace_time() < self.0 * 3);
        while !is_idle() && start.elapsed() < Self::PATIENCE {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn namespace_time() -> Duration {
    let start = Instant::now();
    drop(Namespace::new().expect("a namespace"));
    start.elapsed()
}

/// Time per lab of a script that builds some, in a mount and network namespace of its own.
fn script(name: &str) -> Duration {
    let script = repository().join("scripts/bench.d").join(name);
    let output = Command::new("unshare")
        .args(["--net", "--mount", "bash"])
        .arg(script)
        .arg(IN_A_ROW.to_string())
        .output()
        .expect("unshare, which is part of util-linux");
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    let micros: f64 = String::from_utf8_lossy(&output.stdout).trim().parse().expect("microseconds");
    Duration::from_secs_f64(micros / 1e6 / IN_A_ROW as f64)
}

pub(crate) fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

pub(crate) fn rulesets(table: &mut Table) {
    let builder = Builder::new();
    let mut lab = builder.build();
    let configs = configs(lab.plan(), [("nat-a", NAT), ("nat-b", NAT)]);
    let (node, config) = configs.first_key_value().expect("two");
    let (mut ours, mut by_program) = (vec![], vec![]);
    let file = std::env::temp_dir().join(format!("bench-{}.nft", std::process::id()));
    std::fs::write(&file, format!("flush ruleset\n{}", config.ruleset)).expect("a temporary file");
    for _ in 0..LABS {
        let start = Instant::now();
        lab.set_nat(node, config).expect("rules");
        ours.push(start.elapsed());
        let load = || Command::new("nft").arg("-f").arg(&file).status().expect("nft").success();
        let start = Instant::now();
        assert!(lab.node(node).expect("a node").enter(|_| load()).expect("a namespace"));
        by_program.push(start.elapsed());
    }
    let _ = std::fs::remove_file(&file);
    table.add_times("a NAT's rules and settings, in process", &ours);
    table.add_times("the same rules by nft -f", &by_program);
    let mut both = [vec![], vec![]];
    for _ in 0..LABS {
        let start = Instant::now();
        for (node, config) in &configs {
            lab.set_nat(node, config).expect("rules");
        }
        both[0].push(start.elapsed());
        let start = Instant::now();
        lab.set_nats(&configs).expect("rules");
        both[1].push(start.elapsed());
    }
    table.add_times("both NATs' rules and settings, one after the other", &both[0]);
    table.add_times("both NATs' rules and settings, side by side", &both[1]);
}
