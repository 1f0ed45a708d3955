//! AF_PACKET sockets: whole frames out of and into network devices.
//!
//! A *carrier* takes frames off a device, or off all of a namespace, and puts frames on it, with the checksum and
//! segmentation work that the sender left to the device travelling along in a virtio header (PACKET_VNET_HDR): without
//! it half-finished checksums would be forwarded, and nothing would connect. A *listener* only looks, in both
//! directions.
//!
//! Opening is quick only if the socket has no protocol until it is bound (0.015 ms against 16 ms of RCU). Closing
//! always costs an RCU grace period, also when the process ends: hence the carrier of a whole namespace. Code that
//! cannot wait closes sockets in another thread.

use std::fmt;
use std::io;
use std::mem::{MaybeUninit, size_of, zeroed};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{setsockopt, sockopt};

use crate::kernel::error::{Error, Result};
use crate::kernel::namespace::Inside;
use crate::model::evidence::Nanos;

/// Length of the virtio header (`struct virtio_net_hdr`) in front of each frame of a carrier.
pub const OFFLOAD_HEADER: usize = 10;

/// The largest frame that can be received, virtio header included: 64 KiB of segments and their headers.
pub const LARGEST_FRAME: usize = OFFLOAD_HEADER + 65_536 + 64;

/// Bytes of frames that may wait to be read. Holds a burst of some ten thousand SYNs.
const RECEIVE_BUFFER: usize = 32 << 20;

/// What a packet socket is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Carry,
    Listen,
}

/// An open socket. Never blocks.
#[derive(Debug)]
pub struct PacketSocket {
    descriptor: OwnedFd,
    purpose: Purpose,
}

/// What was received. The bytes are in the buffer that was passed in.
#[derive(Debug, Clone, Copy)]
pub struct Received {
    /// Bytes in the buffer, the virtio header of a carrier included.
    pub kept: usize,
    /// Length of the frame, virtio header not included; more than what was kept if the buffer was too small.
    pub length: usize,
    /// The kernel's receive time, in nanoseconds of CLOCK_REALTIME.
    pub stamp: Option<Nanos>,
    /// Index of the device it went through.
    pub device: u32,
    /// Which way it went through the device.
    pub way: FrameDirection,
}

/// Which way a frame goes through a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameDirection {
    /// From the link to this host.
    In,
    /// From this host to the link. Only listeners see these.
    Out,
}

impl PacketSocket {
    /// Opens a carrier on a device of the calling thread's network namespace.
    ///
    /// # Errors
    /// There is no such device, or no right to it (CAP_NET_RAW in the namespace).
    pub fn carrier(inside: &Inside, device: &str) -> Result<Self> {
        Self::open(inside, Purpose::Carry, Some(device))
    }

    /// Opens a carrier on all devices, present and to come, of the calling thread's network namespace.
    ///
    /// # Errors
    /// There is no right to it (CAP_NET_RAW in the namespace).
    pub fn carrier_of_all(inside: &Inside) -> Result<Self> {
        Self::open(inside, Purpose::Carry, None)
    }

    /// Opens a listener on a device of the calling thread's network namespace.
    ///
    /// # Errors
    /// As for a carrier.
    pub fn listener(inside: &Inside, device: &str) -> Result<Self> {
        Self::open(inside, Purpose::Listen, Some(device))
    }

    fn open(_: &Inside, purpose: Purpose, device: Option<&str>) -> Result<Self> {
        let on = device.map_or_else(|| "all devices".to_owned(), |device| format!("device \"{device}\""));
        let failed = |call| {
            let tried = format!("open a packet socket on {on}");
            move |errno| Error::call(tried, call, errno)
        };
        const EVERY_DEVICE: libc::c_uint = 0;
        let index = device.map_or(Ok(EVERY_DEVICE), nix::net::if_::if_nametoindex);
        let index = index.map_err(failed("if_nametoindex"))?;
        let kind = libc::SOCK_RAW | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
        // SAFETY: the call takes no pointers; the result is checked before use.
        let raw = Errno::result(unsafe { libc::socket(libc::AF_PACKET, kind, 0) });
        let raw = raw.map_err(failed("socket(AF_PACKET)"))?;
        // SAFETY: `raw` was just opened and belongs to nobody else.
        let socket = Self { descriptor: unsafe { OwnedFd::from_raw_fd(raw) }, purpose };
        if purpose == Purpose::Carry {
            socket.set(libc::PACKET_VNET_HDR, 1).map_err(failed("setsockopt(PACKET_VNET_HDR)"))?;
            let ignored = socket.set(libc::PACKET_IGNORE_OUTGOING, 1);
            ignored.map_err(failed("setsockopt(PACKET_IGNORE_OUTGOING)"))?;
        }
        let stamped = setsockopt(&socket.descriptor, sockopt::ReceiveTimestampns, &true);
        stamped.map_err(failed("setsockopt(SO_TIMESTAMPNS)"))?;
        socket.enlarge_buffers();
        socket.bind(index).map_err(failed("bind"))?;
        Ok(socket)
    }

    /// As large as the kernel lets us; a rootless process gets no more than `net.core.rmem_max`. What does not fit is
    /// counted in [`Self::take_drops`].
    fn enlarge_buffers(&self) {
        if setsockopt(&self.descriptor, sockopt::RcvBufForce, &RECEIVE_BUFFER).is_err() {
            let _ = setsockopt(&self.descriptor, sockopt::RcvBuf, &RECEIVE_BUFFER);
        }
        if setsockopt(&self.descriptor, sockopt::SndBufForce, &RECEIVE_BUFFER).is_err() {
            let _ = setsockopt(&self.descriptor, sockopt::SndBuf, &RECEIVE_BUFFER);
        }
    }

    fn set(&self, option: libc::c_int, value: libc::c_int) -> nix::Result<()> {
        let length = socklen::<libc::c_int>();
        // SAFETY: the option's value is one int, which lives across the call and whose size is passed.
        let result = unsafe {
            libc::setsockopt(self.raw(), libc::SOL_PACKET, option, (&raw const value).cast(), length)
        };
        Errno::result(result).map(drop)
    }

    fn bind(&self, index: libc::c_uint) -> nix::Result<()> {
        let mut address = address_of(index);
        address.sll_protocol = (libc::ETH_P_ALL as libc::c_ushort).to_be();
        // SAFETY: `address` is a sockaddr_ll that lives across the call, and its size is passed.
        let result =
            unsafe { libc::bind(self.raw(), (&raw const address).cast(), socklen::<libc::sockaddr_ll>()) };
        Errno::result(result).map(drop)
    }

    /// Takes the next frame that waits; `None` when there is none. A device that is down is no error: its frames come
    /// when it is up.
    ///
    /// # Errors
    /// The kernel's, for one frame that then is lost.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<Option<Received>> {
        // SAFETY: sockaddr_ll and msghdr are plain numbers and pointers, for which zero is a value.
        let (mut address, mut message): (libc::sockaddr_ll, libc::msghdr) = unsafe { (zeroed(), zeroed()) };
        let mut control = MaybeUninit::<Control>::uninit();
        let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
        message.msg_name = (&raw mut address).cast();
        message.msg_namelen = socklen::<libc::sockaddr_ll>();
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = size_of::<Control>() as _;
        // SAFETY: every pointer in `message` is valid for the length beside it and outlives the call.
        let result = unsafe { libc::recvmsg(self.raw(), &raw mut message, libc::MSG_TRUNC) };
        let whole = match Errno::result(result) {
            Ok(length) => length.cast_unsigned(),
            Err(Errno::EAGAIN | Errno::ENETDOWN | Errno::EINTR) => return Ok(None),
            Err(why) => return Err(why.into()),
        };
        Ok(Some(Received {
            kept: whole.min(buffer.len()),
            length: whole.saturating_sub(self.prefix()),
            stamp: stamp(&message),
            device: address.sll_ifindex.cast_unsigned(),
            way: if address.sll_pkttype == libc::PACKET_OUTGOING {
                FrameDirection::Out
            } else {
                FrameDirection::In
            },
        }))
    }

    /// Bytes in front of each frame.
    fn prefix(&self) -> usize {
        match self.purpose {
            Purpose::Carry => OFFLOAD_HEADER,
            Purpose::Listen => 0,
        }
    }

    /// Waits until a frame can be received, for `patience` at most. A signal may end the wait early.
    ///
    /// # Errors
    /// The kernel's.
    pub fn wait_for_frame(&self, patience: Duration) -> io::Result<()> {
        let timeout = PollTimeout::try_from(patience).unwrap_or(PollTimeout::MAX);
        let mut polled = [PollFd::new(self.as_fd(), PollFlags::POLLIN)];
        match poll(&mut polled, timeout) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Puts a frame on the device, as received by a carrier: virtio header first.
    ///
    /// # Errors
    /// The kernel's; the frame did not leave.
    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        // SAFETY: the pointer is valid for the length beside it.
        let result = unsafe { libc::send(self.raw(), frame.as_ptr().cast(), frame.len(), 0) };
        Errno::result(result).map(drop).map_err(io::Error::from)
    }

    /// Puts a frame on a device given by its index, for a carrier of all.
    ///
    /// # Errors
    /// The kernel's; the frame did not leave.
    pub fn send_to(&self, device: u32, frame: &[u8]) -> io::Result<()> {
        let address = address_of(device);
        // SAFETY: both pointers are valid for the lengths beside them.
        let result = unsafe {
            libc::sendto(
                self.raw(),
                frame.as_ptr().cast(),
                frame.len(),
                0,
                (&raw const address).cast(),
                socklen::<libc::sockaddr_ll>(),
            )
        };
        Errno::result(result).map(drop).map_err(io::Error::from)
    }

    /// How many frames found no room in the socket's buffer since the last call.
    ///
    /// # Errors
    /// The kernel's.
    pub fn take_drops(&self) -> io::Result<u32> {
        let mut statistics = libc::tpacket_stats { tp_packets: 0, tp_drops: 0 };
        let mut length = socklen::<libc::tpacket_stats>();
        // SAFETY: the option's value is a tpacket_stats, which lives across the call and whose size is passed.
        let result = unsafe {
            libc::getsockopt(
                self.raw(),
                libc::SOL_PACKET,
                libc::PACKET_STATISTICS,
                (&raw mut statistics).cast(),
                &raw mut length,
            )
        };
        Errno::result(result)?;
        Ok(statistics.tp_drops)
    }

    fn raw(&self) -> libc::c_int {
        self.descriptor.as_raw_fd()
    }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

/// Room for the one control message that is asked for, aligned as a header must be.
#[repr(C)]
struct Control {
    header: libc::cmsghdr,
    stamp: libc::timespec,
}

fn address_of(device: u32) -> libc::sockaddr_ll {
    // SAFETY: sockaddr_ll is plain numbers, for which zero is a value.
    let mut address: libc::sockaddr_ll = unsafe { zeroed() };
    address.sll_family = libc::AF_PACKET as libc::c_ushort;
    address.sll_ifindex = device.cast_signed();
    address
}

fn socklen<T>() -> libc::socklen_t {
    libc::socklen_t::try_from(size_of::<T>()).expect("no structure of the kernel is that large")
}

/// The SO_TIMESTAMPNS stamp among the control messages.
fn stamp(message: &libc::msghdr) -> Option<Nanos> {
    // SAFETY: `message` was filled in by recvmsg, and the buffer it points to is still there.
    let header = unsafe { libc::CMSG_FIRSTHDR(message).as_ref() }?;
    if (header.cmsg_level, header.cmsg_type) != (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) {
        return None;
    }
    // SAFETY: the kernel puts a timespec behind a header of this type.
    let time = unsafe { libc::CMSG_DATA(header).cast::<libc::timespec>().read_unaligned() };
    let seconds = u64::try_from(time.tv_sec).ok()?;
    seconds.checked_mul(1_000_000_000)?.checked_add(u64::try_from(time.tv_nsec).ok()?)
}

/// What a carrier's frame leaves to the device: read from its virtio header.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Offload {
    /// Bytes of headers that every segment repeats.
    header: u16,
    /// Bytes of data a segment carries at most; 0 when it is one segment.
    segment: u16,
}

impl fmt::Debug for Offload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Offload({} bytes of headers, {} of data a segment)", self.header, self.segment)
    }
}

impl Offload {
    /// Reads the header in front of a frame; a missing one means that nothing is left to do.
    #[must_use]
    pub fn of(frame: &[u8]) -> Self {
        let number =
            |at: usize| frame.get(at..at + 2).and_then(|b| b.try_into().ok()).map_or(0, u16::from_ne_bytes);
        Self { header: number(2), segment: number(4) }
    }

    /// Bytes on a real link for a frame of `length` bytes: the headers are repeated for each segment.
    #[must_use]
    pub fn bytes_on_link(self, length: usize) -> u64 {
        let (header, segment) = (u64::from(self.header), u64::from(self.segment));
        let length = length as u64;
        if segment == 0 || length <= header {
            return length;
        }
        length + (length - header).div_ceil(segment).saturating_sub(1) * header
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segmented_frame_repeats_its_headers() {
        let one = Offload { header: 0, segment: 0 };
        assert_eq!(one.bytes_on_link(74), 74);
        let three = Offload { header: 66, segment: 1000 };
        assert_eq!(three.bytes_on_link(66 + 2001), 66 + 2001 + 2 * 66);
        assert_eq!(three.bytes_on_link(66 + 1000), 66 + 1000);
        assert_eq!(three.bytes_on_link(20), 20);
    }

    #[test]
    fn the_header_is_read_in_the_hosts_byte_order() {
        let mut frame = [0; 80];
        frame[2..4].copy_from_slice(&66_u16.to_ne_bytes());
        frame[4..6].copy_from_slice(&1448_u16.to_ne_bytes());
        assert_eq!(Offload::of(&frame), Offload { header: 66, segment: 1448 });
        assert_eq!(Offload::of(&[]), Offload { header: 0, segment: 0 });
    }
}
