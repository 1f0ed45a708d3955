//! The TCP sockets of a namespace, to be ended all at once: also those that no process owns any more.
//!
//! A connection whose program was killed goes on by itself: the kernel says what was left to say, again and again. Its
//! packets would turn up in the next trial.
//!
//! Listing sockets makes the kernel walk through those of the whole machine, so a namespace's own count is asked first.

use std::fs::File;
use std::mem::size_of;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::FileExt;

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket};

use crate::kernel::error::{Error, Result};
use crate::kernel::namespace::Inside;

const TRIED: &str = "end the connections of a namespace";

/// `SOCK_DIAG_BY_FAMILY` and `SOCK_DESTROY` of `sock_diag.h`.
const BY_FAMILY: u16 = 20;
const DESTROY: u16 = 21;

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLM_F_DUMP: u16 = 0x300;

/// `nlmsghdr`, `inet_diag_req_v2` up to its socket id, and that id.
const HEADER: usize = 16;
const REQUEST: usize = 8;
const ID: usize = 48;
/// Where a socket's id begins in `inet_diag_msg`.
const ID_IN_ANSWER: usize = 4;

/// The kernel fills no more than this into one packet of an answer.
const PACKET: usize = 32 * 1024;

/// Every state of `tcp_states.h` but TCP_TIME_WAIT (6) and TCP_LISTEN (10), which say nothing by themselves.
const STATES: u32 = 0x1ffe & !(1 << 6) & !(1 << 10);

/// The way to the TCP sockets of one namespace.
#[derive(Debug)]
pub struct TcpSockets {
    fd: OwnedFd,
    /// Where the namespace counts its sockets.
    counts: File,
}

/// What the kernel calls the protocol of the TCP sockets of a family.
const FAMILIES: [(libc::c_int, &str); 2] = [(libc::AF_INET, "TCP"), (libc::AF_INET6, "TCPv6")];

type SocketId = [u8; ID];

impl TcpSockets {
    /// Opens the way to the sockets of the namespace that this thread is in.
    ///
    /// # Errors
    /// When there is no descriptor left.
    pub fn open(_: &Inside) -> Result<Self> {
        let fd = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            Some(SockProtocol::NetlinkSockDiag),
        );
        let fd = fd.map_err(|errno| Error::call(TRIED, "socket(NETLINK_SOCK_DIAG)", errno))?;
        let file = "/proc/thread-self/net/protocols";
        let counts = File::open(file).map_err(|e| Error::io(TRIED, format!("open {file}"), &e))?;
        Ok(Self { fd, counts })
    }

    /// Whether this kernel can do it: some are built without CONFIG_INET_DIAG_DESTROY.
    ///
    /// # Errors
    /// What the kernel answers for a socket that does not exist, if that is not just that.
    pub fn check(&self) -> Result<()> {
        match self.end(libc::AF_INET as u8, &[0; ID]) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(errno) => Err(Error::call(TRIED, "SOCK_DESTROY", errno)),
        }
    }

    /// Ends every connection, as if it had been reset; listeners stay. Returns how many there were. A kernel that
    /// cannot do it leaves them to end by themselves.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn end_all(&self) -> Result<usize> {
        let mut ended = 0;
        for family in families_in_use(&self.counts) {
            let ids = match self.list(family) {
                // A machine without socket monitoring knows of none.
                Err(Errno::ENOENT) => Vec::new(),
                ids => ids.map_err(|errno| Error::call(TRIED, "SOCK_DIAG_BY_FAMILY", errno))?,
            };
            for id in &ids {
                match self.end(family, id) {
                    // It has ended by itself meanwhile.
                    Ok(()) | Err(Errno::ENOENT) => ended += 1,
                    Err(Errno::EOPNOTSUPP) => return Ok(ended),
                    Err(errno) => return Err(Error::call(TRIED, "SOCK_DESTROY", errno)),
                }
            }
        }
        Ok(ended)
    }

    fn list(&self, family: u8) -> nix::Result<Vec<SocketId>> {
        self.send(BY_FAMILY, NLM_F_REQUEST | NLM_F_DUMP, family, &[0; ID])?;
        let mut ids = Vec::new();
        self.answers(|payload| ids.extend(payload.get(ID_IN_ANSWER..).and_then(|id| id.first_chunk())))?;
        Ok(ids)
    }

    fn end(&self, family: u8, id: &SocketId) -> nix::Result<()> {
        self.send(DESTROY, NLM_F_REQUEST | NLM_F_ACK, family, id)?;
        self.answers(|_| ())
    }

    fn send(&self, kind: u16, flags: u16, family: u8, id: &SocketId) -> nix::Result<()> {
        const LENGTH: usize = HEADER + REQUEST + ID;
        let mut message = [0; LENGTH];
        message[0..4].copy_from_slice(&(LENGTH as u32).to_ne_bytes());
        message[4..6].copy_from_slice(&kind.to_ne_bytes());
        message[6..8].copy_from_slice(&flags.to_ne_bytes());
        message[HEADER] = family;
        message[HEADER + 1] = libc::IPPROTO_TCP as u8;
        message[HEADER + 4..HEADER + REQUEST].copy_from_slice(&STATES.to_ne_bytes());
        message[HEADER + REQUEST..].copy_from_slice(id);
        send(self.fd.as_raw_fd(), &message, MsgFlags::empty()).map(drop)
    }

    /// Calls `each` with what every message of the answer carries, until the answer is complete.
    fn answers(&self, mut each: impl FnMut(&[u8])) -> nix::Result<()> {
        let mut buffer = vec![0; PACKET];
        loop {
            let length = match recv(self.fd.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
                Err(Errno::EINTR) => continue,
                result => result?,
            };
            let mut rest = &buffer[..length];
            while let Some((kind, payload)) = next_message(&mut rest) {
                match kind {
                    NLMSG_DONE => return Ok(()),
                    NLMSG_ERROR => return refusal(payload),
                    _ => each(payload),
                }
            }
        }
    }
}

/// The families of which a namespace counts any TCP socket; it counts those that no process owns, too.
fn families_in_use(counts: &File) -> Vec<u8> {
    let mut text = [0; PACKET];
    let length = counts.read_at(&mut text, 0).unwrap_or_default();
    let text = String::from_utf8_lossy(&text[..length]);
    let used = |(family, protocol): (libc::c_int, &str)| {
        counts_any(&text, protocol).then(|| u8::try_from(family).ok()).flatten()
    };
    FAMILIES.into_iter().filter_map(used).collect()
}

/// Reads a line `TCP 2304 1 …`: name, size, sockets. What cannot be read may be any number; a machine without the
/// protocol has none.
fn counts_any(text: &str, protocol: &str) -> bool {
    let mut lines = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    match lines.find(|words| words.first() == Some(&protocol)).as_deref() {
        Some([_, _, "0", ..]) => false,
        Some(_) => true,
        None => !text.starts_with("protocol"),
    }
}

/// The type and payload of the next message; `None` behind the last.
fn next_message<'a>(rest: &mut &'a [u8]) -> Option<(u16, &'a [u8])> {
    let (header, _) = rest.split_first_chunk::<HEADER>()?;
    let length = u32::from_ne_bytes([header[0], header[1], header[2], header[3]]) as usize;
    let kind = u16::from_ne_bytes([header[4], header[5]]);
    let payload = rest.get(HEADER..length)?;
    *rest = rest.get(length.next_multiple_of(size_of::<u32>())..).unwrap_or_default();
    Some((kind, payload))
}

/// `nlmsgerr`: a negative errno, or 0 for an acknowledgment.
fn refusal(payload: &[u8]) -> nix::Result<()> {
    match payload.first_chunk().map_or(0, |code| i32::from_ne_bytes(*code)) {
        0 => Ok(()),
        code => Err(Errno::from_raw(code.wrapping_neg())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_without_sockets_is_recognised() {
        let text = "protocol  size sockets  memory\nMPTCPv6 2064 7 168\nTCPv6 2432 0 168\nTCP 2304 1 168\n";
        assert!(counts_any(text, "TCP"));
        assert!(!counts_any(text, "TCPv6"));
        assert!(!counts_any("protocol  size sockets\nTCP 2304 0\n", "TCPv6"), "a machine without IPv6");
        assert!(counts_any("", "TCP") && counts_any("TCP", "TCP"), "what cannot be read may be any number");
    }

    #[test]
    fn messages_are_taken_one_after_the_other() {
        let mut packet = vec![18, 0, 0, 0, 20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 0, 0];
        packet.extend([20, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        packet.extend((-1_i32).to_ne_bytes());
        let mut rest = &packet[..];
        assert_eq!(next_message(&mut rest), Some((20, &[1, 2][..])));
        let (kind, payload) = next_message(&mut rest).expect("a second message");
        assert_eq!((kind, refusal(payload)), (NLMSG_ERROR, Err(Errno::EPERM)));
        assert_eq!(next_message(&mut rest), None);
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_end(packet: Vec<u8>) {
            let mut rest = &packet[..];
            let mut messages = 0;
            while next_message(&mut rest).is_some() {
                messages += 1;
            }
            assert!(messages <= packet.len() / HEADER);
        }
    }
}
