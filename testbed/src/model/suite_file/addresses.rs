//! `addresses` of a suite: a name, or ranges of its own.

use std::net::Ipv4Addr;

use serde_spanned::Spanned;
use toml::{Table, Value};

use crate::model::addresses::{AddressSet, Addresses, Block};
use crate::model::problem::Checker;

/// The keys of ranges, in the order that [`Addresses::own`] takes them.
const RANGES: [&str; 3] = ["public", "shared", "private"];

/// Reads `"public"` or `{ public = ["5.6.0.0/16"], … }`.
pub(super) fn read(checker: &mut Checker<'_>, value: &Spanned<Value>) -> Option<Addresses> {
    let read = match value.get_ref() {
        Value::String(name) => name.parse::<AddressSet>().map(Addresses::from).map_err(|_| {
            let known = AddressSet::WORDS.join("\", \"");
            format!(
                "unknown addresses \"{name}\": there are \"{known}\", and {{ public = [\"5.6.0.0/16\"] }}"
            )
        }),
        Value::Table(table) => own(table),
        _ => Err("addresses are a name or a table of ranges".to_owned()),
    };
    checker.keep(value.span(), read)
}

fn own(table: &Table) -> Result<Addresses, String> {
    let known = |key: &&String| !RANGES.contains(&key.as_str()) && *key != "rendezvous";
    if let Some(key) = table.keys().find(known) {
        return Err(format!("unknown addresses \"{key}\": there are {} and rendezvous", RANGES.join(", ")));
    }
    let texts = |key: &str| match table.get(key) {
        None => Ok(Vec::new()),
        Some(value) => {
            let list =
                value.as_array().map(|list| list.iter().map(Value::as_str).collect::<Option<Vec<_>>>());
            match list.flatten() {
                Some(list) if list.is_empty() => Err(format!("{key} has no value")),
                list => list.ok_or_else(|| format!("{key} must be a list of strings")),
            }
        }
    };
    let ranges = |key| texts(key)?.into_iter().map(Block::parse).collect::<Result<Vec<_>, _>>();
    let [public, shared, private] = RANGES.map(ranges);
    let address = |text: &str| text.parse::<Ipv4Addr>().map_err(|_| format!("\"{text}\" is no IPv4 address"));
    let rendezvous: Vec<Ipv4Addr> =
        texts("rendezvous")?.into_iter().map(address).collect::<Result<_, _>>()?;
    let rendezvous = match rendezvous[..] {
        [] => None,
        [first, second] => Some([first, second]),
        _ => return Err("the rendezvous server has two addresses".to_owned()),
    };
    Addresses::own([public?, shared?, private?], rendezvous)
}
