//! Frames that a processor had no room for.
//!
//! A frame that goes through a veth pair waits in a queue of the processor that sent it (`net.core.netdev_max_backlog`,
//! 1000 frames for all devices of all namespaces together). While that is full the kernel drops frames, without a word to
//! any namespace; `/proc/net/softnet_stat` counts them.

use std::io;

/// What [`dropped`] does, for an error message.
pub const READ: &str = "read /proc/net/softnet_stat";

/// The column of dropped frames, and the one that holds the number of the processor on kernels from 5.10
/// (`softnet_seq_show` in `net/core/net-procfs.c`).
const DROPPED: usize = 1;
const PROCESSOR: usize = 12;

/// How many frames the queue of a processor has had no room for since the machine started.
///
/// # Errors
/// When the kernel does not tell.
pub fn dropped(processor: usize) -> io::Result<u64> {
    let table = std::fs::read_to_string("/proc/net/softnet_stat")?;
    of(&table, processor).ok_or_else(|| io::Error::other(format!("processor {processor} is not in it")))
}

/// The same of all processors together.
///
/// # Errors
/// When the kernel does not tell.
pub fn dropped_by_all() -> io::Result<u64> {
    Ok(of_all(&std::fs::read_to_string("/proc/net/softnet_stat")?))
}

/// Since when frames are counted that found no room.
#[derive(Debug)]
pub struct DropCount(Option<u64>);

impl DropCount {
    /// From now on.
    #[must_use]
    pub fn begin() -> Self {
        Self(dropped_by_all().ok())
    }

    /// How many found no room since; none where the kernel does not tell.
    #[must_use]
    pub fn since(&self) -> u64 {
        let Self(before) = self;
        dropped_by_all().ok().zip(*before).map_or(0, |(now, before)| now.saturating_sub(before))
    }
}

fn of_all(table: &str) -> u64 {
    table.lines().filter_map(|line| number(line, DROPPED)).sum()
}

/// The table has a line for each processor that is there, of hexadecimal numbers.
fn of(table: &str, processor: usize) -> Option<u64> {
    let is_its = |(row, line): &(usize, &str)| match number(line, PROCESSOR) {
        Some(told) => usize::try_from(told) == Ok(processor),
        None => *row == processor,
    };
    table.lines().enumerate().find(is_its).and_then(|(_, line)| number(line, DROPPED))
}

fn number(line: &str, column: usize) -> Option<u64> {
    u64::from_str_radix(line.split_whitespace().nth(column)?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_of_a_processor_is_found_by_its_number_or_its_place() {
        let line = |dropped: &str, rest: &str| format!("0030c9a6 {dropped} 00000027 {rest}\n");
        let old = "0 0 0 0 0 0 0 0";
        let table = line("000001b4", old) + &line("000013ef", old);
        assert_eq!([0, 1, 2].map(|p| of(&table, p)), [Some(0x1b4), Some(0x13ef), None]);
        assert_eq!(of_all(&table), 0x1b4 + 0x13ef);
        // The second of four processors is switched off.
        let new = |number: u8| format!("{old} 0 {number:08x} 0 0");
        let table = line("1", &new(0)) + &line("2", &new(2)) + &line("3", &new(3));
        assert_eq!([0, 1, 2, 3].map(|p| of(&table, p)), [Some(1), None, Some(2), Some(3)]);
        assert_eq!(of("no table", 0), None);
    }
}
