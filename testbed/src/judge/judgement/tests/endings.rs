//! Mappings that ended before a SYN came for them.

use std::net::SocketAddrV4;

use super::*;
use crate::model::behavior::{Filtering, Timeouts};
use crate::model::evidence::CtChange;

#[test]
fn a_mapping_that_ended_is_the_cause_only_where_it_would_have_let_the_syn_in() {
    let server = SocketAddrV4::new(Ipv4Addr::new(203, 0, 113, 1), 7000);
    let staged = || {
        let late = StagedEvidence::met()
            .packet(StagedPacket::new(B, 1_490.0, "S").ports(33_333, 4000))
            .packet(StagedPacket::new(A, 1_500.0, "S"));
        late.told(B, server, &[(CtChange::New, 4), (CtChange::Destroy, 1_004)])
    };
    let cause = |filtering| {
        let timeouts = Timeouts { absolute: Some(Duration::from_secs(1)), ..Timeouts::default() };
        let nat = Behavior { filtering, timeouts, ..Behavior::port_preserving() };
        match outcome_behind(nat, &staged(), &lost(), &lost()) {
            Outcome::Failed(failure) => failure.cause,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(cause(Filtering::AddressAndPortDependent), Cause::PredictedPortWrong);
    assert_eq!(cause(Filtering::EndpointIndependent), Cause::MappingExpired);
}

#[test]
fn a_mapping_that_ended_at_its_absolute_timeout_was_not_forgotten_however_late_its_beginning_was_told() {
    let peer = SocketAddrV4::new(external(A), 4000);
    let staged = StagedEvidence::met()
        .told(B, peer, &[(CtChange::New, 40), (CtChange::Destroy, 1_004)])
        .packet(StagedPacket::new(B, 0.0, "S"))
        .packet(StagedPacket::new(B, 725.0, "S"))
        .packet(StagedPacket::new(A, 1_500.0, "S"));
    let timeouts = Timeouts { absolute: Some(Duration::from_secs(1)), ..Timeouts::default() };
    let nat = Behavior { timeouts, ..Behavior::port_preserving() };
    let Outcome::Failed(failure) = outcome_behind(nat, &staged, &lost(), &lost()) else {
        panic!("a failure")
    };
    assert_eq!(failure.cause, Cause::MappingExpired, "{}", failure.detail);
    assert!(failure.detail.contains("1.0 s after its first packet"), "{}", failure.detail);
}
