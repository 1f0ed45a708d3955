//! Reads the files that a user names: suites, topologies, NATs and their rules, baselines, results.

use std::fmt;
use std::fs::{self, Metadata, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::result::Result;

use nix::errno::Errno;
use nix::fcntl::OFlag;

/// Reads a text from a regular file, and from nothing else: a pipe would be waited for, and a device has no end.
///
/// # Errors
/// Why it cannot be read, as the end of a sentence.
pub fn read(path: &Path) -> Result<String, String> {
    let bytes = regular(path).map_err(|error| words(&error))?;
    String::from_utf8(bytes).map_err(|error| {
        let good = error.utf8_error().valid_up_to();
        let line = 1 + error.as_bytes()[..good].iter().filter(|byte| **byte == b'\n').count();
        format!("line {line} is not UTF-8 text")
    })
}

fn regular(path: &Path) -> io::Result<Vec<u8>> {
    // Opening a pipe would wait for who writes to it.
    let mut file = OpenOptions::new().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path)?;
    if let Some(why) = NotAFile::of(&file.metadata()?) {
        return Err(io::Error::other(why.to_string()));
    }
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Why something is no regular file.
#[derive(Debug)]
pub enum NotAFile {
    /// Nothing is there.
    Missing,
    /// It is a folder.
    Folder,
    /// It is a pipe, a socket or a device.
    Other,
    /// It cannot be looked at.
    Hidden(io::Error),
}

impl NotAFile {
    fn of(found: &Metadata) -> Option<Self> {
        match found.file_type() {
            kind if kind.is_file() => None,
            kind if kind.is_dir() => Some(Self::Folder),
            _ => Some(Self::Other),
        }
    }
}

impl fmt::Display for NotAFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("there is no such file"),
            Self::Folder => f.write_str("it is a folder"),
            Self::Other => f.write_str("it is not a regular file"),
            Self::Hidden(why) => f.write_str(&words(why)),
        }
    }
}

/// What is known of the regular file at a path, or where its symbolic links lead to.
///
/// # Errors
/// Why it is none.
pub fn look_at(path: &Path) -> Result<Metadata, NotAFile> {
    match fs::metadata(path) {
        Ok(found) => NotAFile::of(&found).map_or(Ok(found), Err),
        Err(why) if why.kind() == io::ErrorKind::NotFound => Err(NotAFile::Missing),
        Err(why) => Err(NotAFile::Hidden(why)),
    }
}

/// What the file system said, in the form of all messages: the words, and the name of the error in brackets.
#[must_use]
pub fn words(error: &io::Error) -> String {
    match error.raw_os_error().map(Errno::from_raw) {
        Some(errno) => format!("{} ({errno:?})", errno.desc()),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_text_of_a_regular_file_is_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        fs::write(path("text"), "süß\n").expect("room on the disk");
        fs::write(path("bytes"), b"one\ntwo\xff\n").expect("room on the disk");
        nix::unistd::mkfifo(&path("pipe"), nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
        assert_eq!(read(&path("text")).as_deref(), Ok("süß\n"));
        for (name, why) in [
            ("none", "No such file or directory (ENOENT)"),
            ("bytes", "line 2 is not UTF-8 text"),
            ("pipe", "it is not a regular file"),
            (".", "it is a folder"),
        ] {
            assert_eq!(read(&path(name)), Err(why.to_owned()), "{name}");
        }
        assert_eq!(read(Path::new("/dev/zero")), Err("it is not a regular file".to_owned()));
    }
}
