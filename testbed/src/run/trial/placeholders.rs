//! What the placeholders of command templates stand for in one trial.

use std::time::Duration;

use tokio::time::Instant;

use crate::judge::timeline::Role;
use crate::kernel::error::{Error, Result};
use crate::kernel::process::ConfinedInit;
use crate::model::address_plan::{AddressPlan, RENDEZVOUS, RENDEZVOUS_ALT};
use crate::model::program::{AfterInput, StandardInput};
use crate::model::quantity::{Offset, Sign};
use crate::model::template::{self, ADDRESS_OF, Values};
use crate::model::topology::NodeName;
use crate::run::prepared_cell::PreparedCell;
use crate::run::trial::TrialSetup;

/// Replaces the placeholders of a command.
pub(super) fn command(template: &[String], values: &Values) -> Result<Vec<String>> {
    let words: std::result::Result<_, String> =
        template.iter().map(|word| template::expand(word, values)).collect();
    words.map_err(|why| Error::other(format!("make the command \"{}\"", template.join(" ")), why))
}

/// The text of a peer's standard input, and what comes after it.
pub(super) fn input(
    template: Option<&StandardInput>,
    values: &Values,
) -> Result<Option<(String, AfterInput)>> {
    let Some(StandardInput { text, then }) = template else { return Ok(None) };
    let filled = template::expand(text, values);
    filled
        .map(|text| Some((text, *then)))
        .map_err(|why| Error::other(format!("make the standard input \"{text}\""), why))
}

/// The placeholders that are the same for every program of the trial.
pub(super) fn common_values(setup: TrialSetup<'_>, plan: &AddressPlan) -> Values {
    let TrialSetup { request, prepared, seed, .. } = setup;
    let budget = prepared.part.budget_of(&prepared.cell);
    let [first, second] = prepared.part.topology.addresses.rendezvous();
    let (port, alt_port) = (RENDEZVOUS.port(), RENDEZVOUS_ALT.port());
    let deadline = budget.deadline.as_millis();
    let mut values = named([
        ("puncher", request.puncher.display().to_string()),
        ("rendezvous", format!("{first}:{port}")),
        ("rendezvous_ip", first.to_string()),
        ("rendezvous_port", port.to_string()),
        ("rendezvous_alt", format!("{second}:{alt_port}")),
        ("rendezvous_alt_ip", second.to_string()),
        ("rendezvous_alt_port", alt_port.to_string()),
        ("meeting", seed.meeting()),
        ("method", prepared.cell.method().to_owned()),
        ("budget_syns", budget.syns.to_string()),
        ("low_ports", budget.low_ports.to_string()),
        ("deadline", format!("{deadline}ms")),
        ("deadline_ms", deadline.to_string()),
        ("key_file", ConfinedInit::KEY.to_owned()),
    ]);
    for node in plan.nodes.keys() {
        let address = if *node == NodeName::core() { Some(first) } else { plan.address(node) };
        values.extend(address.map(|address| (format!("{ADDRESS_OF}{node}"), address.to_string())));
    }
    values
}

fn named<const N: usize>(values: [(&str, String); N]) -> Values {
    values.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// All placeholders of a peer that is to begin at `begin`, or later by the cell's skew; `common` are those of every program.
pub(super) fn peer_values(setup: TrialSetup<'_>, common: &Values, role: Role, begin: Instant) -> Values {
    let TrialSetup { prepared, seed, .. } = setup;
    let delay = start_delay(prepared, role);
    let in_ms = (begin + delay).saturating_duration_since(Instant::now()).as_millis();
    let (own, other) = (prepared.peer(role), prepared.peer(role.other()));
    let mut values = named([
        ("role", role.letter().to_owned()),
        ("peer_role", role.other().letter().to_owned()),
        ("local_ip", own.vantage.internal.to_string()),
        ("local_port", seed.local_port(role).to_string()),
        ("seed", seed.of(role).to_string()),
        ("peer_ip", other.public.first.to_string()),
        ("peer_port", seed.local_port(role.other()).to_string()),
        ("start_in_ms", in_ms.to_string()),
        ("start_delay", whole_units(delay)),
        ("start_delay_ms", (delay.as_secs_f64() * 1e3).to_string()),
    ]);
    values.extend(common.clone());
    values
}

/// How much later than agreed a side is to begin.
fn start_delay(prepared: &PreparedCell, role: Role) -> Duration {
    let skew: Offset = prepared.cell.skew().unwrap_or_default();
    match (role, skew.sign) {
        (Role::A, Sign::Earlier) | (Role::B, Sign::Later) => skew.by,
        (Role::A, Sign::Later) | (Role::B, Sign::Earlier) => Duration::ZERO,
    }
}

/// A duration as programs read it: in milliseconds, or in microseconds if it is not a whole number of milliseconds.
fn whole_units(duration: Duration) -> String {
    match duration.subsec_micros() % 1000 {
        0 => format!("{}ms", duration.as_millis()),
        _ => format!("{}us", duration.as_micros()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_cannot_be_made_names_its_template() {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let values = named([("role", "a".to_owned())]);
        assert_eq!(command(&words("p --role {role}"), &values).expect("a command"), words("p --role a"));
        let error = command(&words("p {role} {roll}"), &values).expect_err("no such placeholder").to_string();
        assert!(error.contains("p {role} {roll}"), "{error}");
    }

    #[test]
    fn durations_lose_nothing() {
        assert_eq!(whole_units(Duration::from_millis(1500)), "1500ms");
        assert_eq!(whole_units(Duration::from_micros(1500)), "1500us");
        assert_eq!(whole_units(Duration::ZERO), "0ms");
    }
}
