//! The rules of the reference, each with its source, and how one of them is turned round.
//!
//! There are four kinds: what a NAT has to do with packets ([`named`]), the table of states (`table`), what numbers and flags
//! decide ([`Decision`]), and timers. A trial is judged by the rules as they stand. Where `fuzz-nat` is told to turn one round,
//! the kernel has to contradict it: a rule whose opposite nobody would notice is not known to be right. All lists are made by
//! the code that uses the rules, so that none can be left out.

use std::fmt;

use super::order::Way;
use super::table::{Index, TableCell};
use crate::model::behavior::Timeouts;
use crate::model::evidence::Nanos;
use crate::model::kernel_rules::KernelRules;
use crate::model::words::words;

/// A rule of the reference, and where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// The axis that it belongs to.
    pub axis: &'static str,
    /// The section of an RFC, or the function of the kernel.
    pub source: &'static str,
    /// What it is called in the code.
    name: &'static str,
}

/// A rule that was broken, and how.
pub(super) type BrokenRule = (Rule, String);

/// What a rule finds where something is so, or not.
pub(super) fn keeps(so: bool, what: impl FnOnce() -> String) -> Result<(), String> {
    if so { Ok(()) } else { Err(what()) }
}

/// Names the rules, and lists them: no other code can make one.
macro_rules! rules {
    ($($name:ident: $axis:literal, $source:literal;)+) => {
        /// What a NAT has to do with packets.
        pub(super) mod named {
            use super::Rule;
            $(pub(crate) const $name: Rule = Rule { axis: $axis, source: $source, name: stringify!($name) };)+
            pub(super) const ALL: &[Rule] = &[$($name),+];
        }
    };
}

rules! {
    HOPS: "hops", "RFC 791, section 3.2: every router takes one off";
    UNCHANGED: "rewriting", "RFC 3022, section 2.2: only addresses, ports and checksums change";
    LATE: "delay", "RFC 791, section 1.2: a packet is forwarded when it comes";
    ROUTER: "translation", "RFC 1812, section 5.2.1: a router forwards everything";
    KNOWN: "connection",
        "RFC 5382, REQ-1 and REQ-5: a connection keeps its mapping while it lives; nf_conntrack_in";
    SYN_AFTER_SYN: "syn-after-syn", "RFC 5382, REQ-2a: simultaneous open";
    TIMERS: "timeouts", "RFC 5382, REQ-5; nf_conntrack_tcp_packet: timeouts";
    INVALID: "invalid-packets", "nf_conntrack_tcp_packet: out of state or window";
    MAPPING: "mapping", "RFC 4787, REQ-1; RFC 5382, REQ-1; find_appropriate_src";
    ADDRESS: "translation", "RFC 3022, section 2.2: the source is what changes on the way out";
    ADDRESSES: "addresses", "RFC 3022, section 2: a NAT lends its own external addresses";
    PAIRED: "addresses", "RFC 4787, REQ-2: all mappings of an inside host have one external address";
    PORTS: "ports", "RFC 7422, section 2; nf_nat_l4proto_unique_tuple";
    ALLOCATION: "allocation", "RFC 4787, section 4.2.1; get_unique_tuple";
    OVERLOADING: "overloading", "RFC 5382, REQ-7";
    TAKEN: "overloading", "RFC 5382, REQ-1: connections can be told apart; nf_nat_used_tuple_harder";
    OUTWARD: "outward", "RFC 5382, REQ-2: a NAT supports all valid packet flows from inside";
    FILTERING: "filtering", "RFC 4787, section 5; RFC 5382, REQ-3";
    UNSOLICITED: "unsolicited-syn", "RFC 5382, REQ-4";
    HAIRPINNING: "hairpinning", "RFC 5382, REQ-8";
    ICMP: "icmp", "RFC 5508, REQ-3 to REQ-5; nf_conntrack_inet_error";
    NOTHING: "own packets", "RFC 5382, REQ-2: a NAT sends nothing of its own";
}

/// What numbers and flags decide about a packet of a connection, by the functions of `nf_conntrack_proto_tcp.c`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Only some flags go together (`tcp_valid_flags`).
    Whole,
    /// A SYN opens a closing connection again (`nf_conntrack_tcp_packet`, TIME_WAIT).
    Reopens,
    /// An ACK in LAST_ACK challenges a SYN that was let through (`IP_CT_EXP_CHALLENGE_ACK`).
    Challenge,
    /// An ACK completes a simultaneous open (`IP_CT_TCP_SIMULTANEOUS_OPEN`).
    SimultaneousOpen,
    /// A reset before any answer removes the entry.
    ForgetsUnanswered,
    /// A SYN/ACK answers a SYN that was let through: the ends have begun again.
    AnswersIgnored,
    /// In a closing state every reset is believed (`tcp_can_early_drop`).
    ResetClosing,
    /// A reset with the number 0 answers a SYN that was let through.
    ResetZero,
    /// A reset behind what was acknowledged is invalid.
    ResetBehind,
    /// A reset of a connection that stands is believed if its number is exact.
    ResetExact,
    /// A reset that acknowledges a SYN that was let through is believed.
    ResetOfIgnored,
    /// A reset in answer to a challenge is believed.
    ResetOfChallenge,
    /// A connection that is over gives its port to a new one (`nf_nat_used_tuple_harder`).
    GivesWay,
    /// A SYN ahead of what was sent begins the window anew (`tcp_in_window`; all below are of it).
    Renews,
    /// A reset with the acknowledgment 0 is taken for one with the right one.
    ResetWithoutNumber,
    /// A reset with the number 0 in SYN_SENT is taken for one with the right one.
    ResetOfSyn,
    /// More than the window allows is invalid.
    Beyond,
    /// A little more than the window allows passes without counting.
    BeyondALittle,
    /// What acknowledges data that was never sent is invalid.
    AcknowledgesUnsent,
    /// Data from long ago passes without counting.
    Old,
    /// An acknowledgment of long ago passes without counting.
    AcknowledgesOld,
    /// Where a NAT is liberal, or has not seen the beginning, numbers that do not fit are let through.
    Liberal,
}

words!(Decision {
    Whole => "flags go together",
    Reopens => "a SYN opens a closing connection again",
    Challenge => "an ACK challenges a SYN",
    SimultaneousOpen => "an ACK completes a simultaneous open",
    ForgetsUnanswered => "a reset before any answer ends the entry",
    AnswersIgnored => "a SYN ACK answers an ignored SYN",
    ResetClosing => "a reset of a closing connection",
    ResetZero => "a reset with the number 0",
    ResetBehind => "a reset behind what was acknowledged",
    ResetExact => "a reset with the exact number",
    ResetOfIgnored => "a reset of an ignored SYN",
    ResetOfChallenge => "a reset of a challenge",
    GivesWay => "a connection that is over gives way",
    Renews => "a SYN ahead begins the window anew",
    ResetWithoutNumber => "a reset that acknowledges 0",
    ResetOfSyn => "a reset with the number 0 in SYN_SENT",
    Beyond => "beyond the window",
    BeyondALittle => "a little beyond the window",
    AcknowledgesUnsent => "acknowledges what was not sent",
    Old => "data of long ago",
    AcknowledgesOld => "acknowledges what is long ago",
    Liberal => "liberal about numbers",
});

/// One rule that is turned round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Negation(Negated);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Negated {
    /// What satisfies the rule breaks it, and the other way round.
    Rule(Rule),
    /// The other answer.
    Decision(Decision),
    /// What passes in this state is invalid, and what is invalid passes.
    Transition(TableCell),
    /// The time of this timer never ends.
    Timer(&'static str),
}

impl Negation {
    /// Every rule that there is, turned round.
    pub fn all() -> impl Iterator<Item = Self> {
        let rules = named::ALL.iter().copied().map(Negated::Rule);
        let decisions = Decision::ALL.iter().copied().map(Negated::Decision);
        let timers = Timeouts::default().timers().into_iter().map(|(name, ..)| Negated::Timer(name));
        let all = rules.chain(decisions).chain(timers).chain(TableCell::all().map(Negated::Transition));
        all.map(Self)
    }

    /// Whether only waiting can show it: what ends by itself, or is told to have ended.
    #[must_use]
    pub fn needs_time(&self) -> bool {
        matches!(self.0, Negated::Timer(_)) || self.0 == Negated::Rule(named::TIMERS)
    }
}

impl fmt::Display for Negation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Negated::Rule(rule) => write!(f, "rule {}", rule.name.to_lowercase().replace('_', "-")),
            Negated::Decision(decision) => write!(f, "decision: {decision}"),
            Negated::Timer(name) => write!(f, "timer {name}"),
            Negated::Transition(TableCell { way, index, state }) => {
                let way = if way == Way::Original { "opener" } else { "other end" };
                let packet = match index {
                    Index::Syn => "SYN",
                    Index::SynAck => "SYN ACK",
                    Index::Fin => "FIN",
                    Index::Ack => "ACK",
                    Index::Rst => "RST",
                    Index::Nothing => "no flag",
                };
                write!(f, "state {state}: {packet} of the {way}")
            }
        }
    }
}

/// What the reference goes by: all rules as they stand, or one of them turned round; where kernels differ, those of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rulebook {
    negated: Option<Negated>,
    /// What the kernel does where kernels differ.
    pub(super) kernel: KernelRules,
}

impl Rulebook {
    /// All rules but this one as they stand.
    #[must_use]
    pub fn without(Negation(negated): Negation) -> Self {
        Self { negated: Some(negated), ..Self::default() }
    }

    /// The same rules, for a NAT of a kernel that does this.
    #[must_use]
    pub(super) fn of_kernel(self, kernel: KernelRules) -> Self {
        Self { kernel, ..self }
    }

    /// Holds what was found of a packet against a rule.
    pub(super) fn hold(&self, rule: Rule, found: Result<(), String>) -> Result<(), BrokenRule> {
        match (self.negated == Some(Negated::Rule(rule)), found) {
            (false, found) => found.map_err(|why| (rule, why)),
            (true, Ok(())) => Err((rule, "keeps the rule, which is turned round".to_owned())),
            (true, Err(_)) => Ok(()),
        }
    }

    /// What a question about numbers or flags comes to.
    pub(super) fn decides(&self, decision: Decision, answer: bool) -> bool {
        answer != (self.negated == Some(Negated::Decision(decision)))
    }

    /// Whether what the table of states says here is turned round.
    pub(super) fn turns(&self, cell: TableCell) -> bool {
        self.negated == Some(Negated::Transition(cell))
    }

    /// The time of a timer.
    pub(super) fn time(&self, timer: &str, time: Nanos) -> Nanos {
        const NEVER: Nanos = 1 << 60;
        if self.negated.is_some_and(|negated| matches!(negated, Negated::Timer(name) if name == timer)) {
            NEVER
        } else {
            time
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_rule_has_a_name_of_its_own() {
        let names: BTreeSet<String> = Negation::all().map(|negation| negation.to_string()).collect();
        assert_eq!(names.len(), Negation::all().count());
        assert_eq!(TableCell::all().count(), 95);
        for name in ["rule syn-after-syn", "timer time_wait", "state LAST_ACK: RST of the other end"] {
            assert!(names.contains(name), "{name}: {names:?}");
        }
    }

    #[test]
    fn a_rule_that_is_turned_round_asks_for_the_opposite() {
        let negated = |negated| Rulebook { negated: Some(negated), ..Rulebook::default() };
        let kept = || Err::<(), _>("vanished".to_owned());
        let (rule, other) = (named::OUTWARD, named::ICMP);
        let book = negated(Negated::Rule(rule));
        assert_eq!(book.hold(rule, kept()), Ok(()));
        assert!(book.hold(rule, Ok(())).is_err());
        assert_eq!(book.hold(other, Ok(())), Ok(()));
        assert_eq!(Rulebook::default().hold(rule, kept()), Err((rule, "vanished".to_owned())));
        let book = negated(Negated::Decision(Decision::Beyond));
        assert!(book.decides(Decision::Beyond, false) && !book.decides(Decision::Old, false));
        let book = negated(Negated::Timer("close"));
        assert!(book.time("close", 10) > book.time("close_wait", 10));
    }
}
