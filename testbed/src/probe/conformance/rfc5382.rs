//! RFC 5382 (BCP 142), NAT behavioral requirements for TCP: REQ-1 to REQ-10.

use std::net::SocketAddrV4;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::kernel::error::{Error, Result};
use crate::model::behavior::{
    Behavior, Filtering, Hairpinning, IcmpError, Mapping, Overloading, UnsolicitedSyn,
};
use crate::model::packet::{PacketKind, TcpFlags};
use crate::probe::prove::bench::Side;
use crate::probe::prove::bulk;
use crate::probe::prove::filtering::{self, unmapped_target};
use crate::probe::prove::frame::{Probe, QuotedIcmpError};
use crate::probe::prove::lifetimes::{lifetime, read_absolute, read_flush_interval};
use crate::probe::prove::mapping;
use crate::probe::prove::prober::{Fate, Prober};

use super::{ConformanceCheck, ConformanceVerdict, Observation, RequirementLevel, ToldBy, pass_if};

/// REQ-5: 2 hours 4 minutes.
const ESTABLISHED: Duration = Duration::from_secs(7440);
/// REQ-5: 4 minutes.
pub(super) const TRANSITORY: Duration = Duration::from_secs(240);
/// What REQ-5 counts among the established: only one side has closed.
const STANDING: [&str; 3] = ["established", "fin_wait", "close_wait"];
/// REQ-4: 6 seconds.
const SILENCE: Duration = Duration::from_secs(6);

pub(super) const CHECKS: &[ConformanceCheck] = &[
    ConformanceCheck {
        id: "RFC 5382 REQ-1",
        level: RequirementLevel::Must,
        asks: "a NAT MUST have an \"Endpoint-Independent Mapping\" behavior for TCP",
        packets: "SYNs from one inside endpoint to two ports of each of two addresses",
        told_by: ToldBy::Packets,
        expect: |b| pass_if(b.mapping == Mapping::EndpointIndependent),
        measure: |p, b| {
            let finding = mapping::mapping(p, b)?;
            let seen = if finding.agrees { b.mapping.to_string() } else { finding.observed };
            let passes = seen.starts_with(&Mapping::EndpointIndependent.to_string());
            Ok(Observation::new(pass_if(passes), seen))
        },
    },
    ConformanceCheck {
        id: "RFC 5382 REQ-2",
        level: RequirementLevel::Must,
        asks: "a NAT MUST support all valid sequences of TCP packets",
        packets: "SYN out, SYN/ACK in, ACK out, data out, ACK in, FIN out, ACK in, FIN in, ACK out",
        told_by: ToldBy::Packets,
        expect: |_| ConformanceVerdict::Pass,
        measure: whole_connection,
    },
    ConformanceCheck {
        id: "RFC 5382 REQ-2a",
        level: RequirementLevel::Must,
        asks: "a NAT MUST handle the TCP simultaneous-open mode of connection initiation",
        packets: "SYN out, SYN in, SYN/ACK out, SYN/ACK in, data both ways",
        told_by: ToldBy::Packets,
        expect: |b| pass_if(b.syn_after_syn.passes()),
        measure: simultaneous_open,
    },
    ConformanceCheck {
        id: "RFC 5382 REQ-3",
        level: RequirementLevel::Should,
        asks: "RECOMMENDED: \"Endpoint-Independent Filtering\" or \"Address-Dependent Filtering\"",
        packets: "SYN out; SYN in from another port of the same address, and from another address",
        told_by: ToldBy::Packets,
        expect: |b| pass_if(b.filtering != Filtering::AddressAndPortDependent),
        measure: |p, b| {
            let finding = filtering::filtering(p, b)?;
            let lenient = [Filtering::EndpointIndependent, Filtering::AddressDependent];
            let passes = lenient.iter().any(|f| f.to_string() == finding.observed);
            Ok(Observation::new(pass_if(passes), finding.observed))
        },
    },
    ConformanceCheck {
        id: "RFC 5382 REQ-4",
        level: RequirementLevel::Must,
        asks: "a NAT MUST NOT respond to an unsolicited inbound SYN packet for at least 6 seconds",
        packets: "SYN in to a port without mapping, and its retransmission after 3 s",
        told_by: ToldBy::Packets,
        expect: |b| pass_if(is_silent(b)),
        measure: silence,
    },
    ConformanceCheck {
        id: "RFC 5382 REQ-4 (answer)",
        level: RequirementLevel::Should,
        asks: "otherwise, the NAT SHOULD send an ICMP Port Unreachable error, unless REQ-4a applies",
        packets: "SYN in to a port without mapping, and its retransmission after 6.3 s",
        told_by: ToldBy::Packets,
        expect: |b| match b.unsolicited_syn {
            UnsolicitedSyn::IcmpAfterSixSeconds => ConformanceVerdict::Pass,
            UnsolicitedSyn::Drop => ConformanceVerdict::NotApplicable,
            _ => ConformanceVerdict::Fail,
        },
        measure: late_answer,
    },
    ConformanceCheck {
        id: "RFC 5382 REQ-5 (established)",
        level: RequirementLevel::Must,
        asks: "the \"established connection idle-timeout\" MUST NOT be less than 2 hours 4 minutes",
        packets: "connections driven to ESTABLISHED, FIN_WAIT and CLOSE_WAIT; their entries are read",
        told_by: ToldBy::Tracking,
        // An absolute timeout, however long, abandons sessions that have not been idle for that time.
        expect: |b| match b.timeouts.absolute {
            Some(_) => ConformanceVerdict::Fail,
            None => shortest(b, &STANDING, ESTABLISHED),
        },
        measure: |p, _| {
            let seen = timers(p, &STANDING, ESTABLISHED)?;
            let ends_all = p.bench.absolute().is_some();
            Ok(Observation {
                verdict: if ends_all { ConformanceVerdict::Fail } else { seen.verdict },
                ..seen
            })
        },
    },
    ConformanceCheck {
        id: "RFC 5382 REQ-5 (transitory)",
        level: RequirementLevel::Must,
        asks: "the \"transitory connection idle-timeout\" MUST NOT be less than 4 minutes",
        packets: "connections driven to SYN_SENT, SYN_SENT2, SYN_RECV and LAST_ACK; their entries are read",
        told_by: ToldBy::Tracking,
        expect: |b| shortest(b, &["syn_sent", "syn_sent2", "syn_recv", "last_ack"], TRANSITORY),
        measure: |p, _| timers(p, &["syn_sent", "syn_sent2", "syn_recv", "last_ack"], TRANSITORY),
    },
    ConformanceCheck {
        id: "RFC 5382 REQ-6",
        level: RequirementLevel::Should,
        asks: "it is RECOMMENDED that all ALGs that affect TCP (except for FTP) be disabled by default",
        packets: "an established connection to port 5060 with a SIP request that names an inside address",
        told_by: ToldBy::Packets,
        expect: |_| ConformanceVerdict::Pass,
        measure: no_gateway,
    },
    ConformanceCheck {
        id: "RFC 5382 REQ-7",
        level: RequirementLevel::Must,
        asks: "a NAT MUST NOT have a \"Port assignment\" behavior of \"Port overloading\" for TCP",
        packets: "SYNs from one port of two hosts, then from enough endpoints that ports would be shared",
        told_by: ToldBy::Packets,
        expect: |b| pass_if(b.overloading == Overloading::Off),
        measure: overloading,
    },
    ConformanceCheck {
        id: "RFC 5382 REQ-8",
        level: RequirementLevel::Must,
        asks: "a NAT MUST support \"hairpinning\", of type \"External source IP address and port\"",
        packets: "SYN from one inside host to the external endpoint of another one's mapping",
        told_by: ToldBy::Packets,
        expect: |b| pass_if(b.hairpinning == Hairpinning::On),
        measure: |p, b| {
            let seen = filtering::hairpinning(p, b)?.map_or(String::new(), |finding| finding.observed);
            Ok(Observation::new(pass_if(seen == Hairpinning::On.to_string()), seen))
        },
    },
    ConformanceCheck {
        id: "RFC 5382 REQ-9",
        level: RequirementLevel::Should,
        asks: "it SHOULD translate ICMP Destination Unreachable (Type 3) messages",
        packets: "SYN out; ICMP type 3 codes 0, 1, 3, 4 and 13 in, each about a SYN of its own",
        told_by: ToldBy::Packets,
        expect: |_| ConformanceVerdict::Pass,
        measure: |p, _| icmp_errors(p, &[(3, 0), (3, 1), (3, 3), (3, 4), (3, 13)], After::Translated),
    },
    ConformanceCheck {
        id: "RFC 5382 REQ-10",
        level: RequirementLevel::Must,
        asks: "receipt of any sort of ICMP message MUST NOT terminate the NAT mapping or TCP connection",
        packets: "SYN out; ICMP types 3, 4, 11 and 12 in; SYN/ACK in",
        told_by: ToldBy::Packets,
        expect: |_| ConformanceVerdict::Pass,
        measure: |p, _| {
            icmp_errors(
                p,
                &[(3, 0), (3, 1), (3, 2), (3, 3), (3, 4), (3, 13), (4, 0), (11, 0), (12, 0)],
                After::Alive,
            )
        },
    },
];

/// Whether nothing is answered within six seconds.
fn is_silent(behavior: &Behavior) -> bool {
    matches!(behavior.unsolicited_syn, UnsolicitedSyn::Drop | UnsolicitedSyn::IcmpAfterSixSeconds)
}

fn whole_connection(prober: &mut Prober, _: &Behavior) -> Result<Observation> {
    let flow = prober.flow(Side::Inside0);
    let Some((external, theirs)) = prober.establish(&flow)? else {
        return Ok(Observation::new(ConformanceVerdict::Fail, "the handshake did not get through"));
    };
    let (out, back) = ((flow.inside, flow.remote), (flow.remote, external));
    let (ours, theirs) = (flow.isn.wrapping_add(1), theirs.wrapping_add(1));
    let sent = ours.wrapping_add(4);
    let rest = [
        (flow.side, Probe { payload: b"data", ..Probe::ack(out, TcpFlags(0), (ours, theirs)) }, "data"),
        (Side::Outside, Probe::ack(back, TcpFlags(0), (theirs, sent)), "the ACK of data"),
        (flow.side, Probe::ack(out, TcpFlags::FIN, (sent, theirs)), "the FIN"),
        (Side::Outside, Probe::ack(back, TcpFlags(0), (theirs, sent.wrapping_add(1))), "the ACK of the FIN"),
        (Side::Outside, Probe::ack(back, TcpFlags::FIN, (theirs, sent.wrapping_add(1))), "the remote's FIN"),
        (
            flow.side,
            Probe::ack(out, TcpFlags(0), (sent.wrapping_add(1), theirs.wrapping_add(1))),
            "the last ACK",
        ),
    ];
    for (side, probe, what) in rest {
        if !matches!(prober.fate(side, &probe)?, Fate::Delivered { .. }) {
            return Ok(Observation::new(ConformanceVerdict::Fail, format!("{what} did not get through")));
        }
    }
    Ok(Observation::new(ConformanceVerdict::Pass, "every segment got through"))
}

fn simultaneous_open(prober: &mut Prober, _: &Behavior) -> Result<Observation> {
    let (flow, external) = prober.open_fresh(Side::Inside0)?;
    let Some(external) = external else {
        return Ok(Observation::new(ConformanceVerdict::Fail, "the SYN did not get out"));
    };
    let theirs = prober.isn();
    let (out, back) = ((flow.inside, flow.remote), (flow.remote, external));
    let (our_next, their_next) = (flow.isn.wrapping_add(1), theirs.wrapping_add(1));
    let steps = [
        (Side::Outside, Probe::syn(flow.remote, external, theirs), "the SYN from outside"),
        (flow.side, Probe::ack(out, TcpFlags::SYN, (flow.isn, their_next)), "the SYN/ACK from inside"),
        (Side::Outside, Probe::ack(back, TcpFlags::SYN, (theirs, our_next)), "the SYN/ACK from outside"),
        (
            flow.side,
            Probe { payload: b"data", ..Probe::ack(out, TcpFlags(0), (our_next, their_next)) },
            "data out",
        ),
        (
            Side::Outside,
            Probe {
                payload: b"data",
                ..Probe::ack(back, TcpFlags(0), (their_next, our_next.wrapping_add(4)))
            },
            "data in",
        ),
    ];
    for (side, probe, what) in steps {
        let ends = match side {
            Side::Outside => (flow.remote, flow.inside),
            _ => (external, flow.remote),
        };
        match prober.fate(side, &probe)? {
            Fate::Delivered { source, destination, .. } if (source, destination) == ends => {}
            other => return Ok(Observation::new(ConformanceVerdict::Fail, format!("{what}: {other}"))),
        }
    }
    Ok(Observation::new(ConformanceVerdict::Pass, "both SYNs, both SYN/ACKs and data got through"))
}

fn silence(prober: &mut Prober, declared: &Behavior) -> Result<Observation> {
    let syn = Probe::syn(prober.remote(), unmapped_target(declared.translation), prober.isn());
    let began = Instant::now();
    let first = prober.fate(Side::Outside, &syn)?;
    sleep(Duration::from_secs(3));
    let second = prober.fate(Side::Outside, &syn)?;
    if began.elapsed() >= SILENCE {
        return Err(Error::other("watch a NAT be silent for 6 s", "machine too slow"));
    }
    let passes = (first, second) == (Fate::Silence, Fate::Silence);
    Ok(Observation::new(pass_if(passes), format!("{first}, after 3 s {second}")))
}

fn late_answer(prober: &mut Prober, declared: &Behavior) -> Result<Observation> {
    let syn = Probe::syn(prober.remote(), unmapped_target(declared.translation), prober.isn());
    let first = prober.fate(Side::Outside, &syn)?;
    if first != Fate::Silence {
        return Ok(Observation::new(ConformanceVerdict::Fail, format!("{first} at once")));
    }
    sleep(SILENCE + Duration::from_millis(300));
    Ok(match prober.fate(Side::Outside, &syn)? {
        Fate::Silence => Observation::not_applicable("silent for good: its policy, as REQ-4a allows"),
        late => {
            let passes = late == Fate::Icmp(3, IcmpError::PortUnreachable.code());
            Observation::new(pass_if(passes), format!("{late} to the retransmission after 6.3 s"))
        }
    })
}

/// Whether none of these timers is declared shorter than `limit`.
pub(super) fn shortest(behavior: &Behavior, names: &[&str], limit: Duration) -> ConformanceVerdict {
    let timers = behavior.timeouts.timers();
    let value =
        |name: &str| timers.iter().find(|t| t.0 == name).map_or(Duration::ZERO, |t| t.1.unwrap_or(t.2));
    // A FIN that is not acknowledged is data that is not acknowledged.
    let effective = |name: &&str| match *name {
        "fin_wait" => value(name).min(value("unacknowledged")),
        name => value(name),
    };
    // A flush may come at any age of a session.
    if behavior.timeouts.flush_every.is_some() {
        return ConformanceVerdict::Fail;
    }
    let absolute = behavior.timeouts.absolute.unwrap_or(Duration::MAX);
    pass_if(names.iter().all(|name| effective(name).min(absolute) >= limit))
}

/// Drives a connection to each state and reads how long its entry has left.
fn timers(prober: &mut Prober, names: &[&str], limit: Duration) -> Result<Observation> {
    /// The kernel rounds down to whole seconds.
    const ROUNDING: Duration = Duration::from_secs(1);
    let mut passes = true;
    let mut seen = Vec::new();
    for name in names {
        let began = Instant::now();
        let left = lifetime(prober, name)?;
        passes &= left.is_some_and(|left| left + began.elapsed() + ROUNDING >= limit);
        seen.push(left.map_or(format!("{name}: no entry"), |left| format!("{name} {} s", left.as_secs())));
    }
    let began = Instant::now();
    if let Some(left) = read_absolute(prober)? {
        passes &= left + began.elapsed() + ROUNDING >= limit;
        seen.push(format!("absolute {} s", left.as_secs()));
    }
    if let Some(every) = read_flush_interval(prober) {
        passes = false;
        seen.push(format!("all are forgotten every {} s", every.as_secs()));
    }
    Ok(Observation::new(pass_if(passes), seen.join(", ")))
}

fn no_gateway(prober: &mut Prober, _: &Behavior) -> Result<Observation> {
    const REQUEST: &[u8] = b"INVITE sip:b@example.org SIP/2.0\r\nContact: <sip:a@10.0.0.2:5060>\r\n\
        Content-Length: 0\r\n\r\n";
    let (inside, address) = (prober.inside(Side::Inside0), *prober.remote().ip());
    let flow = prober.flow_between(Side::Inside0, inside, SocketAddrV4::new(address, 5060));
    let Some((_, theirs)) = prober.establish(&flow)? else {
        return Ok(Observation::new(ConformanceVerdict::Fail, "the handshake did not get through"));
    };
    prober.bench.take_data();
    let numbers = (flow.isn.wrapping_add(1), theirs.wrapping_add(1));
    let request = Probe { payload: REQUEST, ..Probe::ack((flow.inside, flow.remote), TcpFlags(0), numbers) };
    prober.bench.ask(flow.side, &request)?;
    let unchanged = prober.bench.take_data().iter().any(|frame| frame.ends_with(REQUEST));
    let seen = if unchanged { "the request came out unchanged" } else { "the request was changed or lost" };
    Ok(Observation::new(pass_if(unchanged), seen))
}

fn overloading(prober: &mut Prober, declared: &Behavior) -> Result<Observation> {
    let shared = Overloading::On.to_string();
    if let Some(finding) = filtering::overloading(prober, declared)?.filter(|f| f.observed == shared) {
        return Ok(Observation::new(
            ConformanceVerdict::Fail,
            format!("two hosts share a port: {}", finding.observed),
        ));
    }
    prober.bench.forget()?;
    let many = bulk::bulk(prober, declared)?;
    let found = many.into_iter().find(|f| f.subject == "overloading" && f.observed.starts_with(&shared));
    Ok(match found {
        Some(_) => Observation::new(ConformanceVerdict::Fail, "endpoints share ports when there are many"),
        None => Observation::new(ConformanceVerdict::Pass, "no two endpoints share a port"),
    })
}

/// What is looked at after an ICMP error.
#[derive(Clone, Copy, PartialEq, Eq)]
enum After {
    Translated,
    Alive,
}

fn icmp_errors(prober: &mut Prober, errors: &[(u8, u8)], after: After) -> Result<Observation> {
    let mut failed = Vec::new();
    for &(kind, code) in errors {
        let (flow, external) = prober.open_fresh(Side::Inside0)?;
        let Some(external) = external else { continue };
        let about = Probe::syn(external, flow.remote, flow.isn);
        let (source, destination) = (*flow.remote.ip(), *external.ip());
        let error = QuotedIcmpError { source, destination, kind, code, about };
        let seen = prober.bench.send_icmp_error(Side::Outside, &error)?;
        let good = match after {
            After::Translated => seen.iter().any(|s| match s.packet.kind {
                PacketKind::Icmp(message) => message.about.is_some_and(|q| q.tuple.source == flow.inside),
                _ => false,
            }),
            After::Alive => {
                let numbers = (prober.isn(), flow.isn.wrapping_add(1));
                let answer = Probe::ack((flow.remote, external), TcpFlags::SYN, numbers);
                matches!(prober.fate(Side::Outside, &answer)?, Fate::Delivered { .. })
            }
        };
        if !good {
            failed.push(format!("{kind}/{code}"));
        }
    }
    let seen = match (failed.is_empty(), after) {
        (true, After::Translated) => "each arrived inside, about the inside endpoint".to_owned(),
        (true, After::Alive) => "the SYN/ACK got through after each".to_owned(),
        (false, _) => format!("not so for ICMP {}", failed.join(", ")),
    };
    Ok(Observation::new(pass_if(failed.is_empty()), seen))
}
