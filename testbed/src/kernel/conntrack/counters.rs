//! What connection tracking counts of its own failures, by netlink (`ctnetlink_dump_ct_stats_cpu` of `nf_conntrack_netlink.c`).

use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkPayload, Nla};
use netlink_packet_netfilter::NetfilterMessageInner;
use netlink_packet_netfilter::conntrack::ConntrackMessage;

use crate::kernel::conntrack::{Conntrack, request};
use crate::kernel::error::Result;
use crate::model::evidence::CtCounters;

/// `IPCTNL_MSG_CT_GET_STATS_CPU` of `nfnetlink_conntrack.h`.
const GET_STATS_CPU: u8 = 4;

/// The attributes of `enum ctattr_stats_cpu`.
const INSERT_FAILED: u16 = 9;
const DROP: u16 = 10;
const EARLY_DROP: u16 = 11;
const CHAIN_TOO_LONG: u16 = 15;

impl Conntrack {
    /// What was counted on all processors since the namespace was made. Kernels before 5.15 do not count chains that are too long.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn counters(&self) -> Result<CtCounters> {
        const TRIED: &str = "read the counters of conntrack";
        let number = self.next_number();
        let get = ConntrackMessage::Other { message_type: GET_STATS_CPU, attributes: Vec::new() };
        self.send(TRIED, &request(get, NLM_F_REQUEST | NLM_F_DUMP, number))?;
        let mut all = CtCounters::default();
        self.answers(TRIED, number, |message| {
            let NetlinkPayload::InnerMessage(inner) = &message.payload else { return };
            let NetfilterMessageInner::Conntrack(ConntrackMessage::Other { attributes, .. }) = &inner.inner
            else {
                return;
            };
            for attribute in attributes.iter().filter(|attribute| attribute.value_len() == 4) {
                let mut value = [0; 4];
                attribute.emit_value(&mut value);
                let counter = match attribute.kind() {
                    INSERT_FAILED => &mut all.insert_failed,
                    DROP => &mut all.drop,
                    EARLY_DROP => &mut all.early_drop,
                    CHAIN_TOO_LONG => &mut all.chain_too_long,
                    _ => continue,
                };
                *counter = counter.wrapping_add(u32::from_be_bytes(value));
            }
        })?;
        Ok(all)
    }
}
