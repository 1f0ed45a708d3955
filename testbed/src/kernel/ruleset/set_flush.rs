//! Empties sets and maps by netlink, and asks how often rules were changed.
//!
//! nft would read all rules first, in a thread with a context of its own: a millisecond of processor time, and each trial empties
//! the sets of each NAT. The kernel wants no more than the names.

use netlink_sys::protocols::NETLINK_NETFILTER;
use netlink_sys::{Socket, SocketAddr};
use nix::errno::Errno;

use super::DynamicSet;
use crate::kernel::error::{Error, Result};
use crate::kernel::namespace::Inside;

const TRIED: &str = "empty the sets of a NAT";

/// `NFNL_MSG_BATCH_BEGIN`, `NFNL_MSG_BATCH_END` and `NFNL_SUBSYS_NFTABLES` of `nfnetlink.h`.
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const NFTABLES: u16 = 10;

/// `NFT_MSG_DELSETELEM` of `nf_tables.h`: without elements it deletes all.
const DELETE_ELEMENTS: u16 = NFTABLES << 8 | 14;

/// `NFT_MSG_NEWGEN` and `NFT_MSG_GETGEN`, which it answers.
const GENERATION: u16 = NFTABLES << 8 | 15;
const ASK_GENERATION: u16 = NFTABLES << 8 | 16;

/// `NFTA_SET_ELEM_LIST_TABLE` and `NFTA_SET_ELEM_LIST_SET`.
const TABLE: u16 = 1;
const SET: u16 = 2;

const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLMSG_ERROR: u16 = 2;

/// `nlmsghdr`, and the same with `nfgenmsg`.
const HEADER: usize = 16;
const HEADERS: usize = 20;

/// Of `netlink.h`.
const ALIGN: usize = 4;

/// The way to the sets and maps of one namespace.
#[derive(Debug)]
pub struct SetFlusher {
    socket: Socket,
}

impl SetFlusher {
    /// Opens a socket in the namespace of this thread.
    ///
    /// # Errors
    /// When the socket cannot be had.
    pub fn open(_: &Inside) -> Result<Self> {
        let mut socket =
            Socket::new(NETLINK_NETFILTER).map_err(|e| Error::io(TRIED, "socket(NETLINK_NETFILTER)", &e))?;
        socket.bind_auto().map_err(|e| Error::io(TRIED, "bind", &e))?;
        socket.connect(&SocketAddr::new(0, 0)).map_err(|e| Error::io(TRIED, "connect", &e))?;
        Ok(Self { socket })
    }

    /// Empties `sets`, in one step.
    ///
    /// # Errors
    /// When one of them is gone; then none is emptied.
    pub fn flush(&self, sets: &[DynamicSet]) -> Result<()> {
        if sets.is_empty() {
            return Ok(());
        }
        let batch = batch(sets).ok_or_else(|| Error::other(TRIED, "a table of an unknown family"))?;
        self.socket.send(&batch, 0).map_err(|e| Error::io(TRIED, "send", &e))?;
        // The kernel has answered when it returns, each request that was good and the first one that was not.
        let (mut buffer, mut missing) = (Vec::with_capacity(8192), sets.len());
        while missing > 0 {
            buffer.clear();
            self.socket.recv(&mut buffer, libc::MSG_DONTWAIT).map_err(|e| Error::io(TRIED, "recv", &e))?;
            for error in errors(&buffer) {
                match error {
                    0 => missing = missing.saturating_sub(1),
                    code => return Err(self.refused(code)),
                }
            }
        }
        Ok(())
    }

    /// The number of the rules in force. The kernel counts every change that somebody asks for, that of a set as well, but not what
    /// packets do to sets (`nf_tables_commit` of `nf_tables_api.c`).
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub fn generation(&self) -> Result<u32> {
        const TRIED: &str = "ask for the number of the rules in force";
        self.socket
            .send(&message(ASK_GENERATION, NLM_F_REQUEST, (0, 0), &[]), 0)
            .map_err(|e| Error::io(TRIED, "send", &e))?;
        let mut answer = Vec::with_capacity(8192);
        self.socket.recv(&mut answer, libc::MSG_DONTWAIT).map_err(|e| Error::io(TRIED, "recv", &e))?;
        generation(&answer).ok_or_else(|| Error::other(TRIED, "the kernel's answer has none"))
    }

    /// The error, once the answers to other requests of the batch are out of the way of the next batch.
    fn refused(&self, code: i32) -> Error {
        let mut rest = Vec::with_capacity(8192);
        while self.socket.recv(&mut rest, libc::MSG_DONTWAIT).is_ok() {
            rest.clear();
        }
        Error::call(TRIED, "NFT_MSG_DELSETELEM", Errno::from_raw(code.wrapping_neg()))
    }
}

/// The requests as the kernel wants them: all or none. `None` when a table's family is not known.
fn batch(sets: &[DynamicSet]) -> Option<Vec<u8>> {
    let mut bytes = message(BATCH_BEGIN, NLM_F_REQUEST, (0, NFTABLES), &[]);
    for set in sets {
        let (family, table) = set.table.split_once(' ')?;
        let attributes = [(TABLE, table), (SET, set.name.as_str())];
        bytes.extend(message(DELETE_ELEMENTS, NLM_F_REQUEST | NLM_F_ACK, (number(family)?, 0), &attributes));
    }
    bytes.extend(message(BATCH_END, NLM_F_REQUEST, (0, NFTABLES), &[]));
    Some(bytes)
}

/// The number of a family, of `linux/netfilter.h`.
fn number(family: &str) -> Option<u8> {
    Some(match family {
        "inet" => 1,
        "ip" => 2,
        "arp" => 3,
        "netdev" => 5,
        "bridge" => 7,
        "ip6" => 10,
        _ => return None,
    })
}

/// One message with texts as its attributes.
fn message(kind: u16, flags: u16, (family, resource): (u8, u16), attributes: &[(u16, &str)]) -> Vec<u8> {
    let mut bytes = vec![0; HEADERS];
    bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
    bytes[6..8].copy_from_slice(&flags.to_ne_bytes());
    bytes[HEADER] = family;
    bytes[HEADER + 2..].copy_from_slice(&resource.to_be_bytes());
    for (attribute, text) in attributes {
        let length = 4 + text.len() + 1;
        bytes.extend(u16::try_from(length).unwrap_or(u16::MAX).to_ne_bytes());
        bytes.extend(attribute.to_ne_bytes());
        bytes.extend(text.as_bytes());
        bytes.push(0);
        bytes.resize(bytes.len().next_multiple_of(ALIGN), 0);
    }
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    bytes[..4].copy_from_slice(&length.to_ne_bytes());
    bytes
}

/// The number in an answer: its first attribute, `NFTA_GEN_ID`.
fn generation(answer: &[u8]) -> Option<u32> {
    let kind = answer.get(4..6)?.try_into().ok()?;
    let number = answer.get(HEADERS + 4..HEADERS + 8)?.try_into().ok()?;
    (u16::from_ne_bytes(kind) == GENERATION).then(|| u32::from_be_bytes(number))
}

/// The error number of each answer, 0 for none.
fn errors(mut bytes: &[u8]) -> Vec<i32> {
    let mut found = Vec::new();
    while let Some(header) = bytes.first_chunk::<HEADERS>() {
        let [a, b, c, d, e, f, ..] = *header;
        let length = (u32::from_ne_bytes([a, b, c, d]) as usize).max(HEADERS);
        if u16::from_ne_bytes([e, f]) == NLMSG_ERROR {
            found.extend(header.last_chunk().map(|code| i32::from_ne_bytes(*code)));
        }
        bytes = bytes.get(length.next_multiple_of(ALIGN)..).unwrap_or_default();
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(table: &str, name: &str) -> DynamicSet {
        DynamicSet { kind: "set".to_owned(), table: table.to_owned(), name: name.to_owned() }
    }

    #[test]
    fn a_batch_begins_names_each_set_and_ends() {
        let bytes = batch(&[set("ip nat", "taken"), set("inet f", "x")]).expect("known families");
        let mut kinds = Vec::new();
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let length = u32::from_ne_bytes(*rest.first_chunk().expect("a length")) as usize;
            assert_eq!(length % ALIGN, 0);
            kinds.push((u16::from_ne_bytes([rest[4], rest[5]]), rest[HEADER]));
            rest = &rest[length..];
        }
        assert_eq!(kinds, [(BATCH_BEGIN, 0), (0xa0e, 2), (0xa0e, 1), (BATCH_END, 0)]);
        // The length and number of an attribute, then its text with the zero byte that ends it, aligned.
        let request = &bytes[HEADERS..];
        assert_eq!(request[HEADERS..HEADERS + 8], [8, 0, 1, 0, b'n', b'a', b't', 0]);
        assert_eq!(request[HEADERS + 8..HEADERS + 20], *b"\x0a\0\x02\0taken\0\0\0");
    }

    #[test]
    fn a_family_that_nobody_knows_is_refused() {
        assert_eq!(batch(&[set("ipx nat", "taken")]), None);
        assert_eq!(batch(&[set("nat", "taken")]), None);
    }

    #[test]
    fn every_answer_is_read() {
        let answer = |code: i32| {
            let mut bytes = message(NLMSG_ERROR, 0, (0, 0), &[]);
            bytes[HEADER..HEADERS].copy_from_slice(&code.to_ne_bytes());
            bytes
        };
        assert_eq!(errors(&[answer(0), answer(-2)].concat()), [0, -2]);
        assert_eq!(errors(&[1, 2, 3]), Vec::<i32>::new());
    }
}
