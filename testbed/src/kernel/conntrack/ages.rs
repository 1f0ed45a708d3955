//! How long entries of connection tracking have lived, by the kernel's stamps (`ctnetlink_dump_timestamp` of `nf_conntrack_netlink.c`).

use std::time::Duration;

use netlink_packet_core::{NLA_F_NESTED, NetlinkMessage, NetlinkPayload, Nla, NlasIterator};
use netlink_packet_netfilter::conntrack::{ConntrackAttribute, ConntrackMessage};
use netlink_packet_netfilter::{NetfilterMessage, NetfilterMessageInner};

/// `CTA_TIMESTAMP` of `nfnetlink_conntrack.h`, and what it holds: when an entry began, and when it ended.
const CTA_TIMESTAMP: u16 = 20;
const START: u16 = 1;
const STOP: u16 = 2;

/// How long the entry has lived whose end a message tells.
pub(super) fn lived(message: &NetlinkMessage<NetfilterMessage>) -> Option<Duration> {
    let NetlinkPayload::InnerMessage(inner) = &message.payload else { return None };
    let NetfilterMessageInner::Conntrack(ConntrackMessage::Delete(attributes)) = &inner.inner else {
        return None;
    };
    let stamps = attributes.iter().find_map(|attribute| match attribute {
        ConntrackAttribute::Other(nla) if nla.kind() & !NLA_F_NESTED == CTA_TIMESTAMP => {
            let mut value = vec![0; nla.value_len()];
            nla.emit_value(&mut value);
            Some(value)
        }
        _ => None,
    })?;
    Some(Duration::from_nanos(stamp(&stamps, STOP)?.saturating_sub(stamp(&stamps, START)?)))
}

/// The stamp of this kind among attributes, in nanoseconds.
fn stamp(attributes: &[u8], kind: u16) -> Option<u64> {
    let mut all = NlasIterator::new(attributes).flatten();
    let value = all.find(|attribute| attribute.kind() == kind)?;
    Some(u64::from_be_bytes(value.value().try_into().ok()?))
}
