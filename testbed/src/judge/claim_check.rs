//! The connections that the programs claim, held against those that the evidence shows. Pure.
//!
//! A claim is never evidence. What follows for the trial is decided in `judgement`.

use std::net::SocketAddrV4;

use crate::judge::case::Case;
use crate::judge::program_output::{Claim, SuccessClaim};
use crate::judge::timeline::{Flow, Role};
use crate::model::evidence::Tuple;

/// What the programs claim, compared with the connections that the evidence shows.
#[derive(Debug)]
pub(super) enum ClaimCheck<'a> {
    /// Neither peer claims success.
    ByNone,
    /// One peer claims this connection, and the evidence shows it.
    ByOne(Role, &'a Flow),
    /// Both peers claim this connection, made by this method, and the evidence shows it.
    ByBoth(&'a Flow, String),
    /// A peer claims what the evidence does not show.
    Lie(String),
}

/// Holds the claims of both peers against the connections of the timeline.
pub(super) fn check_claims<'a>(case: &Case<'_>, all: &'a [Flow]) -> ClaimCheck<'a> {
    let claims = Role::BOTH.map(|role| match case.said(role) {
        Claim::Success(named) => Some(named),
        _ => None,
    });
    let [a, b] = claims;
    let connected = |role: Role| -> Vec<&Flow> {
        // Where one side claims nothing, what the other sent may not have reached it.
        let both = a.is_some() && b.is_some();
        all.iter()
            .filter(|f| if both { f.carried_both_ways() } else { f.seems_to_have_carried(role) })
            .collect()
    };
    let flows = Role::BOTH.map(|role| {
        let named = if role == Role::A { a } else { b };
        named.map(|named| borne_out(case, role, named, &connected(role)).map_err(|lie| lie + &missing(all)))
    });
    match flows {
        [None, None] => ClaimCheck::ByNone,
        [Some(Err(lie)), _] | [_, Some(Err(lie))] => ClaimCheck::Lie(lie),
        [Some(Ok(flow)), None] => ClaimCheck::ByOne(Role::A, flow),
        [None, Some(Ok(flow))] => ClaimCheck::ByOne(Role::B, flow),
        [Some(Ok(a_flow)), Some(Ok(b_flow))] if a_flow == b_flow => {
            let method = [a, b].into_iter().flatten().find_map(|n| n.method.clone());
            ClaimCheck::ByBoth(a_flow, method.unwrap_or_else(|| case.method.to_owned()))
        }
        [Some(Ok(a_flow)), Some(Ok(b_flow))] => ClaimCheck::Lie(format!(
            "the peers claim two different connections: a {}, b {}",
            a_flow.a,
            b_flow.a.reversed()
        )),
    }
}

/// The connection that a claim names, if the evidence shows it.
fn borne_out<'a>(
    case: &Case<'_>,
    role: Role,
    named: &SuccessClaim,
    connected: &[&'a Flow],
) -> Result<&'a Flow, String> {
    let letter = role.letter();
    let Some((local, remote)) = named.connection else {
        let any = connected.first().copied();
        return any.ok_or_else(|| format!("peer {letter} claims a success of which there is no evidence"));
    };
    let flow = outer(case, role, local, remote).into_iter().find_map(|tuple| match role {
        Role::A => connected.iter().copied().find(|f| f.a == tuple),
        Role::B => by_b(connected, tuple),
    });
    flow.ok_or_else(|| {
        format!("peer {letter} claims the connection {local} -> {remote}, of which there is no evidence")
    })
}

/// Why a connection that was established is no evidence of a success: the side whose data never arrived.
fn missing(all: &[Flow]) -> String {
    let stood = |flow: &&Flow| Role::BOTH.iter().all(|role| flow.established(*role).is_some());
    let without_data = |flow: &Flow| {
        let silent = Role::BOTH.into_iter().find(|role| flow.delivered_payload(*role).is_none())?;
        let (connection, letter) = (flow.a, silent.letter());
        Some(format!("; the connection {connection} stood, but no data of peer {letter} arrived on it"))
    };
    all.iter().filter(stood).find_map(without_data).unwrap_or_default()
}

/// The flow that side b's packets belong to, by their tuple at b's vantage.
fn by_b<'a>(connected: &[&'a Flow], tuple: Tuple) -> Option<&'a Flow> {
    connected.iter().copied().find(|f| f.segments.iter().any(|s| s.from == Role::B && s.tuple == tuple))
}

/// The tuples that a peer's packets may have at its vantage.
fn outer(case: &Case<'_>, role: Role, local: SocketAddrV4, remote: SocketAddrV4) -> Vec<Tuple> {
    case.vantage(role).translate(&case.evidence.conntrack, Tuple { source: local, destination: remote })
}
