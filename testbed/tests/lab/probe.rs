//! What `puncher probe` tells of a NAT is what the catalogue declares, for every profile.

use std::time::Duration;

use serde_json::{Value, json};
use testbed::kernel::process::{Command, Stdio};
use testbed::lab::{Lab, WireEngine};
use testbed::model::axis::NatAxis;
use testbed::model::behavior::{
    Allocation, Behavior, Collision, Filtering, Hairpinning, Mapping, Pool, Translation, UnsolicitedSyn,
};
use testbed::model::catalogue::{Catalogue, Profile};
use tokio::io::{AsyncBufReadExt as _, BufReader};

use super::lab_is_possible;
use super::pair::pair;
use super::run::puncher;

/// Profiles that are probed side by side.
const AT_ONCE: usize = 7;

/// Endpoints from which every kind of mapping and filtering can be told.
const SERVERS: [&str; 4] = ["203.0.113.1:7000", "203.0.113.1:7001", "203.0.113.2:7000", "203.0.113.2:7001"];

const LONG: Duration = Duration::from_secs(60);

/// What a probe has to say.
fn declared(nat: &Behavior) -> Value {
    let translates = nat.translation == Translation::Nat;
    let by_kernel = matches!(nat.allocation, Allocation::Preserving | Allocation::Random);
    json!({
        "mapping": match nat.mapping {
            _ if !translates => "none",
            Mapping::EndpointIndependent => "endpoint-independent",
            Mapping::AddressDependent => "address-dependent",
            Mapping::AddressAndPortDependent => "address-and-port-dependent",
        },
        "allocation": match nat.allocation {
            // None of the ports that the probe uses lies in the pool.
            Allocation::Preserving if nat.collision == Collision::Sequential => "sequential",
            Allocation::Preserving => "preserving",
            _ if !translates => "preserving",
            Allocation::Sequential { .. } => "sequential",
            Allocation::Random if nat.pool == Pool::Kernel => "random",
            Allocation::Random if matches!(nat.pool, Pool::Ranges(_)) => "share",
            Allocation::Random | Allocation::Hash { .. } => "range",
        },
        "filtering": match nat.filtering {
            _ if nat.translation == Translation::Router => "endpoint-independent",
            Filtering::EndpointIndependent => "endpoint-independent",
            Filtering::AddressDependent => "address-dependent",
            Filtering::AddressAndPortDependent => "address-and-port-dependent",
        },
        "unsolicited_syn": match nat.unsolicited_syn {
            _ if nat.translation == Translation::Router => "untried",
            // Nothing is unsolicited.
            _ if nat.filtering == Filtering::EndpointIndependent => "untried",
            UnsolicitedSyn::Drop | UnsolicitedSyn::IcmpAfterSixSeconds => "silence",
            UnsolicitedSyn::Reset | UnsolicitedSyn::Kernel => "reset",
            UnsolicitedSyn::Icmp(_) => "icmp-port",
        },
        "hairpinning": translates.then_some(nat.hairpinning == Hairpinning::On),
        "layers": u8::from(translates),
        "keeps_low_ports": !translates || (by_kernel && nat.pool == Pool::Kernel),
    })
}

/// The same part of what the probe said.
fn told(class: &Value) -> Value {
    let keys =
        ["mapping", "allocation", "filtering", "unsolicited_syn", "hairpinning", "layers", "keeps_low_ports"];
    let value = |key: &str| if key == "allocation" { class[key]["rule"].clone() } else { class[key].clone() };
    keys.into_iter().map(|key| (key.to_owned(), value(key))).collect::<serde_json::Map<_, _>>().into()
}

async fn lab(profile: &Profile, engine: &WireEngine) -> Lab {
    Lab::new(&pair()).engine(engine).nat("nat-a", profile.behavior).build().await.expect("a lab")
}

/// What the probe says behind a NAT, and the NAT file that it writes.
async fn probe(profile: &Profile, engine: &WireEngine) -> (Value, String) {
    let lab = lab(profile, engine).await;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("mine.toml");
    let named = file.to_string_lossy().into_owned();
    let mut server = Command::new(puncher()).arg("rendezvous").stdout(Stdio::Pipe);
    for endpoint in SERVERS {
        server = server.args(["--listen", endpoint]);
    }
    let mut server = lab.node("core").expect("the core").spawn(&server).await.expect("a server");
    let mut listening = String::new();
    let said = server.stdout.take().expect("a pipe");
    BufReader::new(said).read_line(&mut listening).await.expect("a line");
    let command =
        Command::new(puncher()).args(["probe", "--json", "--wait", "1s", "--rendezvous", SERVERS[0]]);
    let command = command.args(["--nat", &named]);
    let peer = lab.node("peer-a").expect("a peer");
    let output = peer.spawn(&command).await.expect("a probe").output();
    let output = tokio::time::timeout(LONG, output).await.expect("in time").expect("an end");
    let said = String::from_utf8_lossy(&output.stdout);
    let mut lines = said.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let class = lines.rfind(|line| line["event"] == "nat");
    let class = class.unwrap_or_else(|| panic!("{}: {output:?}", profile.name));
    (class, std::fs::read_to_string(&file).expect("a NAT file"))
}

/// What the NAT file says that is not so. Ports that were drawn show a part of their range; a hash looks like chance, and
/// silence does not say for how long.
fn lies(file: &str, declared: &Behavior) -> Vec<String> {
    let catalogue = Catalogue::parse(file, "mine.toml").unwrap_or_else(|why| panic!("{why}\n{file}"));
    let declared_collision = declared.collision;
    let said = &catalogue.get("mine").expect("its only NAT").behavior;
    let fits = |axis: NatAxis| match axis {
        NatAxis::Allocation => match (declared.allocation, said.allocation) {
            (Allocation::Hash { .. }, Allocation::Random) => true,
            (Allocation::Preserving, Allocation::Sequential { step: 1 }) => {
                declared_collision == Collision::Sequential
            }
            (declared, said) => declared == said,
        },
        NatAxis::Pool => match (declared.pool, said.pool) {
            (Pool::Range(range) | Pool::Blocks { range, .. }, Pool::Range(said)) => {
                range.contains(said.low) && range.contains(said.high)
            }
            (declared, said) => declared == said,
        },
        NatAxis::UnsolicitedSyn => match (declared.unsolicited_syn, said.unsolicited_syn) {
            (UnsolicitedSyn::IcmpAfterSixSeconds, UnsolicitedSyn::Drop)
            | (UnsolicitedSyn::Kernel, UnsolicitedSyn::Reset) => true,
            (declared, said) => declared == said,
        },
        axis => declared.value(axis) == said.value(axis),
    };
    let key = |axis: NatAxis| axis.name().to_lowercase().replace(' ', "-");
    let named = |axis: &NatAxis| file.lines().any(|line| line.starts_with(&format!("{} =", key(*axis))));
    let wrong = NatAxis::ALL.iter().copied().filter(named).filter(|axis| !fits(*axis));
    wrong
        .map(|axis| format!("{axis}: declared {}, said {}", declared.value(axis), said.value(axis)))
        .collect()
}

#[test]
fn a_probe_tells_of_every_nat_what_the_catalogue_declares() {
    if !lab_is_possible() {
        return;
    }
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("tokio");
    let catalogue = Catalogue::embedded();
    let profiles: Vec<&Profile> = catalogue.profiles().collect();
    let engine = WireEngine::start().expect("a thread");
    let mut wrong = Vec::new();
    for some in profiles.chunks(AT_ONCE) {
        let probed = runtime.block_on(futures::future::join_all(some.iter().map(|p| probe(p, &engine))));
        for (profile, (class, file)) in some.iter().zip(probed) {
            for lie in lies(&file, &profile.behavior) {
                wrong.push(format!("{}: {lie}\n{file}", profile.name));
            }
            let (told, declared) = (told(&class), declared(&profile.behavior));
            if told != declared {
                wrong.push(format!("{}\n  told     {told}\n  declared {declared}\n  {class}", profile.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
