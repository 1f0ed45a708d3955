//! Which mounts a mount namespace has: `/proc/PID/mountinfo` (proc(5)), as far as it takes to make them read-only.
//!
//! mount_setattr(2) would change whole trees in one call, but Linux has it since 5.12 only.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use nix::mount::MsFlags;

/// A mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// Where it is.
    pub(super) point: PathBuf,
    /// What it forbids already. An unprivileged user cannot take that away, and so has to repeat it.
    pub(super) flags: MsFlags,
}

/// Reads the table, in the order in which the mounts were made.
pub(super) fn parse(text: &str) -> Vec<Entry> {
    let entry = |line: &str| {
        let mut words = line.split(' ').skip(4);
        let (point, options) = (words.next()?, words.next()?);
        Some(Entry { point: unescaped(point), flags: options.split(',').map(flag).collect() })
    };
    text.lines().filter_map(entry).collect()
}

fn flag(option: &str) -> MsFlags {
    match option {
        "ro" => MsFlags::MS_RDONLY,
        "nosuid" => MsFlags::MS_NOSUID,
        "nodev" => MsFlags::MS_NODEV,
        "noexec" => MsFlags::MS_NOEXEC,
        "noatime" => MsFlags::MS_NOATIME,
        "nodiratime" => MsFlags::MS_NODIRATIME,
        "relatime" => MsFlags::MS_RELATIME,
        _ => MsFlags::empty(),
    }
}

/// Blanks and the like stand there as three octal digits behind a backslash.
fn unescaped(text: &str) -> PathBuf {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let digits = after.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        let code = digits.and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match code.filter(|_| first == b'\\') {
            Some(code) => {
                bytes.push(code);
                rest = &after[3..];
            }
            None => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    PathBuf::from(OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_mount() {
        let text = "36 35 98:0 /mnt1 /mnt\\0402/a\\134b rw,noatime,nodev master:1 - ext3 /dev/root rw,errors=continue\n";
        let flags = MsFlags::MS_NOATIME | MsFlags::MS_NODEV;
        assert_eq!(parse(text), [Entry { point: PathBuf::from("/mnt 2/a\\b"), flags }]);
        assert_eq!(parse("36 35\n"), []);
    }
}
