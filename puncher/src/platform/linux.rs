//! Linux: what `tcp(7)` and `ip(7)` tell, and where in the kernel they do not.

use std::fs::{Metadata, OpenOptions};
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd;
use std::time::Duration;

use socket2::{Domain, SockRef, Socket, Type};
use tokio::net::TcpStream;

use super::{DialFailure, IcmpError, System, TcpState, unix};

pub(crate) struct Linux;

impl System for Linux {
    const CANNOT_LIMIT_HOPS: Option<&'static str> = None;

    fn share_port(socket: &Socket) -> io::Result<()> {
        socket.set_reuse_port(true)
    }

    /// The ICMP time-exceeded quotes the SYN with a TTL of 1 or less, which IP_MINTTL refuses, so the socket stays in SYN_SENT
    /// with its initial sequence number (`tcp_v4_err`).
    fn limit_hops(socket: &Socket, hops: u8) -> io::Result<()> {
        socket.set_ttl_v4(hops.into())?;
        set_ip_option(socket, libc::IP_MINTTL, hops.max(2).into())
    }

    fn keep_icmp_errors(socket: &Socket) -> io::Result<()> {
        set_ip_option(socket, libc::IP_RECVERR, 1)
    }

    fn icmp_error(stream: &TcpStream) -> Option<IcmpError> {
        icmp_error(stream)
    }

    fn acknowledge_by_answers(stream: &TcpStream) {
        // A kernel that does not know it acknowledges at once.
        let _ = SockRef::from(stream).set_tcp_quickack(false);
    }

    fn state(stream: &TcpStream) -> Option<TcpState> {
        // include/net/tcp_states.h
        Some(match tcp_info(stream)?[0] {
            1 => TcpState::Established,
            2 => TcpState::SynSent,
            3 => TcpState::SynReceived,
            8 => TcpState::CloseWait,
            _ => TcpState::Closing,
        })
    }

    /// That of the handshake, unless a later one was shorter. The smoothed one would contain delayed acknowledgements.
    fn min_round_trip(stream: &TcpStream) -> Option<Duration> {
        let micros = u32::from_ne_bytes(*tcp_info(stream)?[MIN_RTT_AT..].first_chunk()?);
        // The kernel says all ones until it has measured.
        (micros != u32::MAX && micros != 0).then(|| Duration::from_micros(micros.into()))
    }

    fn unacknowledged(stream: &TcpStream) -> u64 {
        let mut bytes: libc::c_int = 0;
        // SIOCOUTQ, which Linux numbers like TIOCOUTQ (tcp(7)).
        // SAFETY: the kernel writes one int to where the pointer shows.
        let done = unsafe { libc::ioctl(stream.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
        // A socket that is gone has no queue.
        if done == 0 { u64::try_from(bytes).unwrap_or(0) } else { 0 }
    }

    fn is_connecting(error: &io::Error) -> bool {
        unix::is_connecting(error)
    }

    fn dial_failure(error: &io::Error) -> DialFailure {
        unix::dial_failure(error)
    }

    fn interface_addresses() -> Vec<Ipv4Addr> {
        ipv4_addresses().unwrap_or_else(|_| unix::interface_addresses())
    }

    fn raise_open_files(wanted: u64) -> io::Result<u64> {
        unix::raise_open_files(wanted)
    }

    fn mode_that_others_read(metadata: &Metadata) -> Option<u32> {
        unix::mode_that_others_read(metadata)
    }

    fn make_private(options: &mut OpenOptions) {
        unix::make_private(options);
    }
}

/// The addresses by SIOCGIFCONF (netdevice(7)), which tells no others. For getifaddrs(3) the kernel lists all that it knows of
/// each device, which takes ten times as long.
fn ipv4_addresses() -> io::Result<Vec<Ipv4Addr>> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
    // SAFETY: an `ifreq` is plain numbers, for which zero is a value.
    let nothing: libc::ifreq = unsafe { std::mem::zeroed() };
    let mut entries = vec![nothing; 16];
    loop {
        let room = size_of_val(&entries[..]);
        let ifc_len = libc::c_int::try_from(room).map_err(|_| io::ErrorKind::OutOfMemory)?;
        let ifc_ifcu = libc::__c_anonymous_ifc_ifcu { ifcu_req: entries.as_mut_ptr() };
        let mut told = libc::ifconf { ifc_len, ifc_ifcu };
        // SAFETY: `told` outlives the call, and points to as many bytes as it says.
        if unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFCONF as _, &raw mut told) } != 0 {
            return Err(io::Error::last_os_error());
        }
        let count = usize::try_from(told.ifc_len).unwrap_or(0) / size_of::<libc::ifreq>();
        if count < entries.len() {
            entries.truncate(count);
            return Ok(entries.iter().filter_map(ipv4_address).collect());
        }
        // There may be more than there was room for.
        entries.resize(2 * entries.len(), nothing);
    }
}

fn ipv4_address(entry: &libc::ifreq) -> Option<Ipv4Addr> {
    // SAFETY: the kernel has written an address into each entry that it tells of, and any bytes are one.
    let address = unsafe { entry.ifr_ifru.ifru_addr };
    let is_ipv4 = libc::c_int::from(address.sa_family) == libc::AF_INET;
    // Behind two bytes of a port (`sockaddr_in`).
    let [_, _, a, b, c, d, ..] = address.sa_data.map(libc::c_char::cast_unsigned);
    is_ipv4.then_some(Ipv4Addr::new(a, b, c, d))
}

fn set_ip_option(socket: &impl AsRawFd, option: libc::c_int, value: libc::c_int) -> io::Result<()> {
    // SAFETY: `value` is a live int of the length given, and the kernel only reads it.
    let done = unsafe {
        let value = (&raw const value).cast();
        libc::setsockopt(socket.as_raw_fd(), libc::IPPROTO_IP, option, value, size_of::<libc::c_int>() as u32)
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Room for one control message: `sock_extended_err` and the sender's address, with its header.
#[repr(align(8))]
struct Control([u8; 128]);

fn icmp_error(stream: &TcpStream) -> Option<IcmpError> {
    let (mut data, mut control) = ([0u8; 64], Control([0; 128]));
    let mut part = libc::iovec { iov_base: data.as_mut_ptr().cast(), iov_len: data.len() };
    // SAFETY: a msghdr of zeros is a valid empty one.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.0.as_mut_ptr().cast();
    // C libraries differ in the type of lengths.
    message.msg_controllen = control.0.len() as _;
    // SAFETY: `message` points to buffers that live as long as the call, with their lengths.
    let got = unsafe { libc::recvmsg(stream.as_raw_fd(), &raw mut message, libc::MSG_ERRQUEUE) };
    if got < 0 {
        return None;
    }
    // SAFETY: `message` was filled by recvmsg; the macro stays within `msg_controllen`.
    let header = unsafe { libc::CMSG_FIRSTHDR(&raw const message).as_ref() }?;
    if (header.cmsg_level, header.cmsg_type) != (libc::IPPROTO_IP, libc::IP_RECVERR) {
        return None;
    }
    let wanted = size_of::<libc::sock_extended_err>() + size_of::<libc::sockaddr_in>();
    // SAFETY: only computes a length.
    if header.cmsg_len < unsafe { libc::CMSG_LEN(wanted as u32) } as _ {
        return None;
    }
    // SAFETY: the data is a sock_extended_err followed by a sockaddr_in: its length was checked above.
    let (error, sender) = unsafe {
        let error = libc::CMSG_DATA(header).cast::<libc::sock_extended_err>();
        (error.read_unaligned(), error.add(1).cast::<libc::sockaddr_in>().read_unaligned())
    };
    let from = Ipv4Addr::from(u32::from_be(sender.sin_addr.s_addr));
    (error.ee_origin == libc::SO_EE_ORIGIN_ICMP).then_some(IcmpError { kind: error.ee_type, from })
}

/// Bytes of `struct tcp_info` up to and with `tcpi_min_rtt` (Linux 4.6 and later).
const INFO_BYTES: usize = 152;

/// Where in `struct tcp_info` the smallest round trip is, in microseconds.
const MIN_RTT_AT: usize = 148;

fn tcp_info(stream: &TcpStream) -> Option<[u8; INFO_BYTES]> {
    let mut info = [0; INFO_BYTES];
    let mut length = INFO_BYTES as libc::socklen_t;
    let descriptor = stream.as_raw_fd();
    // SAFETY: `info` has `length` bytes, the kernel writes no more, and any bytes are a valid [u8].
    let done = unsafe {
        let into = info.as_mut_ptr().cast();
        libc::getsockopt(descriptor, libc::IPPROTO_TCP, libc::TCP_INFO, into, &raw mut length)
    };
    (done == 0 && length as usize == INFO_BYTES).then_some(info)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_tell_the_same_addresses() {
        let sorted = |mut addresses: Vec<Ipv4Addr>| {
            addresses.sort();
            addresses
        };
        let by_ioctl = ipv4_addresses().expect("SIOCGIFCONF");
        assert_eq!(sorted(by_ioctl), sorted(unix::interface_addresses()));
    }
}
