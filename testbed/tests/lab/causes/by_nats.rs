//! Causes that lie in what a NAT does.

use testbed::model::cause::Cause;

use super::{MET, all_are_proved, all_have, program, provoked, repeats, suite, trials};
use crate::lab::lab_is_possible;

/// Two peers that dial where the other should be.
const DIAL: [&str; 2] = ["dial; at 700; fail", "dial; at 700; fail"];

/// Where a NAT answers, a frame may be late by half a trip: with longer trips a busy machine is no trouble.
const SLOW: &str = "delay = [\"40ms\"]\n";

/// b dials when a's SYN has been answered.
const B_LATER: [&str; 2] = ["dial; at 1200; fail", "at 800; dial; at 1200; fail"];

#[test]
fn predicted_port_wrong() {
    provoked(Cause::PredictedPortWrong, ["port-preserving", "random"], DIAL, "");
}

/// b dials the first address of a's NAT, and a's mappings have another one.
#[test]
fn predicted_address_wrong() {
    if lab_is_possible() {
        let actor = program("actor.py");
        let dial = format!("exec /usr/bin/python3 {actor} '{}' '{}' {{role}}", DIAL[0], DIAL[1]);
        let rest = format!(
            "deadline = \"4s\"\n[axes]\nmethod = [\"act\"]\n[program]\njudge = \"exit\"\nfiles = [\"{actor}\"]\n\
             peer = [\"/bin/sh\", \"-c\", \"peer=198.51.100.2; if [ {{role}} = b ]; then peer=192.0.2.2; fi; {dial} {{local_ip}} \
             {{local_port}} $peer {{peer_port}} {{start_in_ms}}\"]\n"
        );
        let kept = trials(suite(["paired-pool", "port-preserving"], repeats(), &rest));
        all_have(&kept, Cause::PredictedAddressWrong);
        all_are_proved(&kept);
    }
}

/// b has a mapping at the port that a dials, opened towards the server, and dials a from another.
#[test]
fn filtered() {
    let a = "dial server=31000; at 800; dial; at 1500; fail";
    let b = "dial server=31000; at 800; dial from=1; at 1500; fail";
    provoked(Cause::Filtered, ["port-preserving", "port-preserving"], [a, b], MET);
}

#[test]
fn syn_after_syn_refused() {
    provoked(Cause::SynAfterSynRefused, ["no-syn-after-syn", "no-syn-after-syn"], DIAL, "");
}

#[test]
fn reset_by_nat() {
    provoked(Cause::ResetByNat, ["reset", "reset"], B_LATER, SLOW);
}

#[test]
fn icmp_from_nat() {
    provoked(Cause::IcmpFromNat, ["icmp", "icmp"], B_LATER, SLOW);
}

/// a's host ignores the reset that ends a's mapping; b comes, finds none, and has gone when a's kernel tries again after
/// a second.
#[test]
fn mapping_destroyed() {
    let a = "dial minttl=255; at 2500; fail";
    let b = "at 500; dial; at 650; close; fail";
    provoked(Cause::MappingDestroyed, ["port-preserving", "reset"], [a, b], SLOW);
}

/// a gives up its SYN and listens at the same port; the answer to b's SYN has a number of its own and fits nothing.
#[test]
fn invalid_and_untranslated() {
    let a = "dial; at 100; close; listen; at 1150; fail";
    let b = "at 400; dial; at 1150; fail";
    provoked(Cause::InvalidUntranslated, ["linux-default", "port-preserving"], [a, b], SLOW);
}

/// Twice as many flows to one endpoint as the NAT has ports, of which a hash leaves some unused.
#[test]
fn tuple_clash() {
    let a = "dial from=1 count=420; dial; at 900; fail";
    provoked(Cause::TupleClash, ["colliding", "port-preserving"], [a, DIAL[1]], "");
}

#[test]
fn ports_exhausted() {
    let a = "dial from=1 count=12; dial; at 900; fail";
    provoked(Cause::PortsExhausted, ["four-ports", "port-preserving"], [a, DIAL[1]], "");
}

#[test]
fn quota_reached() {
    let a = "dial from=1 count=2 server=31000; at 800; dial; at 1500; fail";
    let b = "dial server=31000; at 800; dial; at 1500; fail";
    provoked(Cause::QuotaReached, ["two-mappings", "port-preserving"], [a, b], MET);
}

/// a's mapping lives for a second, and a has closed its socket and sends nothing to keep it.
#[test]
fn mapping_expired() {
    let a = "dial; at 300; close; at 2500; fail";
    let b = "at 1900; dial; at 2500; fail";
    provoked(Cause::MappingExpired, ["short-lived", "port-preserving"], [a, b], "");
}

/// a's mapping would live for two minutes if its NAT did not end all after two seconds.
#[test]
fn mapping_expired_at_the_absolute_timeout() {
    let a = "dial; at 300; close; at 3000; fail";
    let b = "at 2600; dial; at 3000; fail";
    provoked(Cause::MappingExpired, ["two-seconds", "port-preserving"], [a, b], "");
}

/// b's SYN comes when a's NAT has forgotten everything, as it does every second.
#[test]
fn nat_rebooted_as_it_does_at_regular_intervals() {
    let a = "dial; at 300; close; at 3000; fail";
    let b = "at 2600; dial; at 3000; fail";
    provoked(Cause::NatRebooted, ["flushed-often", "port-preserving"], [a, b], "");
}

/// a gives up its SYN and listens at the same port; its NAT takes the answer to b's SYN, which has a number of its own,
/// for a packet of another connection.
#[test]
fn invalid_dropped() {
    let a = "dial; at 100; close; listen; at 900; fail";
    let b = "at 400; dial; at 900; fail";
    provoked(Cause::InvalidDropped, ["port-preserving", "port-preserving"], [a, b], "");
}
