//! The table of states: what a packet of a connection does to it (`tcp_conntracks` of `nf_conntrack_proto_tcp.c`).

use super::order::Way;
use crate::model::evidence::CtState;
use crate::model::packet::TcpFlags;

/// What a packet is to the state machine (`get_conntrack_index`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Index {
    Syn,
    SynAck,
    Fin,
    Ack,
    Rst,
    Nothing,
}

impl Index {
    pub(super) fn of(flags: TcpFlags) -> Self {
        if flags.contains(TcpFlags::RST) {
            Self::Rst
        } else if flags.contains(TcpFlags::SYN) {
            if flags.contains(TcpFlags::ACK) { Self::SynAck } else { Self::Syn }
        } else if flags.contains(TcpFlags::FIN) {
            Self::Fin
        } else if flags.contains(TcpFlags::ACK) {
            Self::Ack
        } else {
            Self::Nothing
        }
    }
}

/// What the table says of a packet in a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transition {
    To(CtState),
    Ignored,
    Invalid,
}

/// A place in the table of states.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TableCell {
    pub(super) way: Way,
    pub(super) index: Index,
    pub(super) state: CtState,
}

impl TableCell {
    /// Every place of the table that a packet can come to: one without a flag that counts is refused before, and nothing answers a
    /// connection that there is not.
    pub(super) fn all() -> impl Iterator<Item = Self> {
        let indices = [Index::Syn, Index::SynAck, Index::Fin, Index::Ack, Index::Rst];
        let states = (0..=u8::MAX).map_while(CtState::from_kernel);
        let places = states.flat_map(move |state| indices.map(|index| (state, index)));
        places.flat_map(|(state, index)| {
            let ways = [Way::Original, Way::Reply].into_iter();
            let comes = move |way: &Way| *way == Way::Original || state != CtState::None;
            ways.filter(comes).map(move |way| Self { way, index, state })
        })
    }

    /// What the table says there.
    pub(super) fn read(self) -> Transition {
        TABLE[self.way as usize][self.index as usize][self.state as usize]
    }
}

impl Transition {
    /// What passes is invalid, and what is invalid passes.
    pub(super) fn opposite(self) -> Self {
        match self {
            Self::Invalid => Self::Ignored,
            Self::To(_) | Self::Ignored => Self::Invalid,
        }
    }
}

/// The table `tcp_conntracks`: by way, then packet, then the states NONE, SYN_SENT, SYN_RECV, ESTABLISHED, FIN_WAIT,
/// CLOSE_WAIT, LAST_ACK, TIME_WAIT, CLOSE, SYN_SENT2.
#[rustfmt::skip]
const TABLE: [[[Transition; 10]; 6]; 2] = {
    use CtState::{Close, CloseWait, Established, FinWait, LastAck, SynRecv, SynSent, SynSent2, TimeWait};
    const IV: Transition = Transition::Invalid;
    const IG: Transition = Transition::Ignored;
    const SS: Transition = Transition::To(SynSent);
    const SR: Transition = Transition::To(SynRecv);
    const ES: Transition = Transition::To(Established);
    const FW: Transition = Transition::To(FinWait);
    const CW: Transition = Transition::To(CloseWait);
    const LA: Transition = Transition::To(LastAck);
    const TW: Transition = Transition::To(TimeWait);
    const CL: Transition = Transition::To(Close);
    const S2: Transition = Transition::To(SynSent2);
    [
        [
            /* SYN     */ [SS, SS, IG, IG, IG, IG, IG, SS, SS, S2],
            /* SYN/ACK */ [IV, IV, SR, IV, IV, IV, IV, IV, IV, SR],
            /* FIN     */ [IV, IV, FW, FW, LA, LA, LA, TW, CL, IV],
            /* ACK     */ [ES, IV, ES, ES, CW, CW, TW, TW, CL, IV],
            /* RST     */ [IV, CL, CL, CL, CL, CL, CL, CL, CL, CL],
            /* nothing */ [IV; 10],
        ],
        [
            /* SYN     */ [IV, S2, IV, IV, IV, IV, IV, SS, IV, S2],
            /* SYN/ACK */ [IV, SR, IG, IG, IG, IG, IG, IG, IG, SR],
            /* FIN     */ [IV, IV, FW, FW, LA, LA, LA, TW, CL, IV],
            /* ACK     */ [IV, IG, SR, ES, CW, CW, TW, TW, CL, IG],
            /* RST     */ [IV, CL, CL, CL, CL, CL, CL, CL, CL, CL],
            /* nothing */ [IV; 10],
        ],
    ]
};
