//! Frames as a pcapng file (draft-ietf-opsawg-pcapng), for Wireshark: one interface for each link, nanoseconds, and
//! comments. Bytes out; writing the file is left to the caller.

use crate::model::evidence::{Direction, Fate, Frame, Nanos};

const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE_DESCRIPTION: u32 = 1;
const ENHANCED_PACKET: u32 = 6;

/// Options that every block knows.
const OPT_COMMENT: u16 = 1;
/// Options of the section header.
const SHB_USERAPPL: u16 = 4;
/// Options of an interface.
const IF_NAME: u16 = 2;
const IF_DESCRIPTION: u16 = 3;
const IF_TSRESOL: u16 = 9;
/// Options of a packet.
const EPB_FLAGS: u16 = 2;

const LINKTYPE_ETHERNET: u16 = 1;
/// Times are in units of ten to the minus ninth.
const NANOSECONDS: u8 = 9;

/// What goes in front of the frames.
#[derive(Debug, Clone)]
pub struct CaptureHeader<'a> {
    /// About the whole capture: the cell, the trial, its outcome.
    pub comment: &'a str,
    /// The links, in the order of their numbers.
    pub links: &'a [LinkName],
    /// Nanoseconds from CLOCK_MONOTONIC to those since 1970.
    pub unix_offset: Nanos,
    /// Bytes of a frame that are kept at most.
    pub snap_length: u32,
}

/// How a link is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkName {
    /// Short: `nat-a`, the node below it.
    pub name: String,
    /// Long: `nat-a to core, a wire of 5 ms`.
    pub description: String,
}

/// A capture under construction.
#[derive(Debug)]
pub struct Pcapng {
    bytes: Vec<u8>,
    interfaces: usize,
    unix_offset: Nanos,
}

/// A frame is from a link that was not in the heading.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("cannot capture a frame of link {0}: the capture has no link of that number")]
pub struct UnknownLink(pub u16);

impl Pcapng {
    /// Begins a capture.
    #[must_use]
    pub fn new(heading: &CaptureHeader<'_>) -> Self {
        let mut bytes = section_header(heading.comment);
        for link in heading.links {
            bytes.extend(interface(link, heading.snap_length));
        }
        Self { bytes, interfaces: heading.links.len(), unix_offset: heading.unix_offset }
    }

    /// Adds a frame at the time it entered its link. What the link did to it follows the other comments.
    ///
    /// # Errors
    /// The heading did not name its link.
    pub fn add(&mut self, frame: &Frame, comments: &[&str]) -> Result<(), UnknownLink> {
        if usize::from(frame.link) >= self.interfaces {
            return Err(UnknownLink(frame.link));
        }
        self.bytes.extend(packet(frame, comments, frame.entered.saturating_add(self.unix_offset)));
        Ok(())
    }

    /// The whole file.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

fn section_header(comment: &str) -> Vec<u8> {
    let mut block = Block::new(SECTION_HEADER);
    // Tells readers the byte order.
    block.u32(0x1a2b_3c4d);
    // Version 1.0, and a length of the section that nobody needs.
    block.u16(1).u16(0).u32(u32::MAX).u32(u32::MAX);
    block.option(OPT_COMMENT, comment.as_bytes()).option(SHB_USERAPPL, b"testbed");
    block.finish()
}

fn interface(link: &LinkName, snap_length: u32) -> Vec<u8> {
    let mut block = Block::new(INTERFACE_DESCRIPTION);
    // Two bytes are reserved.
    block.u16(LINKTYPE_ETHERNET).u16(0).u32(snap_length);
    block.option(IF_NAME, link.name.as_bytes()).option(IF_DESCRIPTION, link.description.as_bytes());
    block.option(IF_TSRESOL, &[NANOSECONDS]);
    block.finish()
}

fn packet(frame: &Frame, comments: &[&str], time: u64) -> Vec<u8> {
    let mut block = Block::new(ENHANCED_PACKET);
    block.u32(frame.link.into());
    block.u32((time >> 32) as u32).u32(time as u32);
    block.u32(length(&frame.bytes)).u32(frame.length).bytes(&frame.bytes);
    for comment in comments {
        block.option(OPT_COMMENT, comment.as_bytes());
    }
    if let Some(told) = fate(frame) {
        block.option(OPT_COMMENT, told.as_bytes());
    }
    // Seen from the lower node, as the kernel would see its own device.
    let flags: u32 = match frame.direction {
        Direction::Down => 1,
        Direction::Up => 2,
    };
    block.option(EPB_FLAGS, &flags.to_le_bytes());
    block.finish()
}

/// What the link did to a frame; nothing to tell of a link without a wire.
fn fate(frame: &Frame) -> Option<String> {
    let took = || frame.left.saturating_sub(frame.entered) as f64 / 1e6;
    let what = match frame.fate {
        Fate::Delivered if frame.left == frame.entered => return None,
        Fate::Delivered => format!("left the link after {:.3} ms", took()),
        Fate::Lost => "lost by the link".to_owned(),
        Fate::InFlight => "still on the link at the end".to_owned(),
    };
    Some(if frame.is_copy { format!("a copy that the link made; {what}") } else { what })
}

/// One block: its type, its length before and after, all numbers little-endian, all parts filled up to 32 bits.
struct Block(Vec<u8>);

impl Block {
    fn new(kind: u32) -> Self {
        let mut block = Self(Vec::new());
        // The length is filled in at the end.
        block.u32(kind).u32(0);
        block
    }

    fn u16(&mut self, value: u16) -> &mut Self {
        self.0.extend(value.to_le_bytes());
        self
    }

    fn u32(&mut self, value: u32) -> &mut Self {
        self.0.extend(value.to_le_bytes());
        self
    }

    fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend(bytes);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    /// An option; what does not fit its 16 bits of length is cut off.
    fn option(&mut self, code: u16, value: &[u8]) -> &mut Self {
        let value = &value[..value.len().min(usize::from(u16::MAX))];
        self.u16(code).u16(value.len() as u16).bytes(value)
    }

    fn finish(mut self) -> Vec<u8> {
        const END_OF_OPTIONS: u16 = 0;
        self.option(END_OF_OPTIONS, &[]);
        let total = length(&self.0) + 4;
        self.u32(total);
        self.0[4..8].copy_from_slice(&total.to_le_bytes());
        self.0
    }
}

fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(link: u16) -> Frame {
        Frame {
            link,
            direction: Direction::Up,
            entered: 1_500_000_000,
            due: 1_505_000_000,
            left: 1_505_250_000,
            fate: Fate::Delivered,
            is_copy: false,
            length: 60,
            bytes: [0xab; 13].into(),
        }
    }

    fn heading(links: &[LinkName]) -> CaptureHeader<'_> {
        CaptureHeader { comment: "a trial", links, unix_offset: 1_000_000_000_000_000_000, snap_length: 128 }
    }

    /// Walks over the blocks by their first length and checks the second.
    fn blocks(mut bytes: &[u8]) -> Vec<(u32, &[u8])> {
        let number = |bytes: &[u8]| u32::from_le_bytes(bytes[..4].try_into().expect("four bytes"));
        let mut blocks = Vec::new();
        while !bytes.is_empty() {
            let total = number(&bytes[4..]) as usize;
            assert_eq!(total % 4, 0);
            assert_eq!(number(&bytes[total - 4..]) as usize, total);
            blocks.push((number(bytes), &bytes[8..total - 4]));
            bytes = &bytes[total..];
        }
        blocks
    }

    #[test]
    fn a_capture_is_a_section_its_interfaces_and_its_packets() {
        let links = ["nat-a", "nat-b"].map(|name| LinkName { name: name.into(), description: String::new() });
        let mut capture = Pcapng::new(&heading(&links));
        assert_eq!(capture.add(&frame(1), &["SYN"]), Ok(()));
        assert_eq!(capture.add(&frame(2), &[]), Err(UnknownLink(2)));
        let bytes = capture.into_bytes();
        let blocks = blocks(&bytes);
        let kinds: Vec<u32> = blocks.iter().map(|(kind, _)| *kind).collect();
        assert_eq!(kinds, [SECTION_HEADER, INTERFACE_DESCRIPTION, INTERFACE_DESCRIPTION, ENHANCED_PACKET]);
        assert_eq!(blocks[1].1[4..8], 128_u32.to_le_bytes(), "the snap length");
        let packet = blocks[3].1;
        let time = 1_000_000_001_500_000_000_u64;
        let head = [1, (time >> 32) as u32, time as u32, 13, 60].map(u32::to_le_bytes).concat();
        assert_eq!(packet[..20], head);
        assert_eq!(packet[20..36], [[0xab; 13].as_slice(), &[0; 3]].concat());
    }

    #[test]
    fn what_the_link_did_is_told() {
        let told = |fate, left| super::fate(&Frame { fate, left, ..frame(0) });
        assert_eq!(told(Fate::Delivered, 1_500_000_000), None);
        assert_eq!(told(Fate::Delivered, 1_505_250_000).as_deref(), Some("left the link after 5.250 ms"));
        assert_eq!(told(Fate::Lost, 0).as_deref(), Some("lost by the link"));
        let copy = Frame { fate: Fate::InFlight, is_copy: true, ..frame(0) };
        let told = super::fate(&copy);
        assert_eq!(told.as_deref(), Some("a copy that the link made; still on the link at the end"));
    }
}
