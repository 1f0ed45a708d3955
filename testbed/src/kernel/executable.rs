//! Whether a file can be executed, as far as one can tell without doing it (execve(2)).
//!
//! What only the kernel knows, such as other formats that it was taught (binfmt_misc), is left to the attempt.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;

use nix::unistd::{AccessFlags, access};

use crate::kernel::host::{self, HostRights};

/// The kernel looks for the name of an interpreter in so many bytes (`BINPRM_BUF_SIZE`).
const FIRST_LINE: usize = 256;

/// `e_ident` of a 64-bit program whose bytes have the order of this machine (elf(5)).
const ELF_64: [u8; 6] = [0x7f, b'E', b'L', b'F', 2, if cfg!(target_endian = "little") { 1 } else { 2 }];

/// `p_type` of the program header that names the loader.
const PT_INTERP: u32 = 3;

/// Why a file cannot be executed by a program under test; `None` where nothing speaks against it.
#[must_use]
pub fn obstacle(path: &Path) -> Option<String> {
    not_a_program(path).or_else(|| {
        let interpreter = interpreter(path)?;
        let interpreter = Path::new(&interpreter);
        not_a_program(interpreter)
            .map(|why| format!("it is to be executed by \"{}\": {why}", interpreter.display()))
    })
}

/// What a file lacks in itself.
fn not_a_program(path: &Path) -> Option<String> {
    let found = match fs::metadata(path) {
        Ok(found) => found,
        Err(why) if why.kind() == std::io::ErrorKind::NotFound => {
            return Some("there is no such file".to_owned());
        }
        Err(why) => return Some(why.to_string()),
    };
    if found.is_dir() {
        return Some("it is a folder".to_owned());
    }
    // Programs of a run that root starts belong to users who own nothing.
    let allowed = match host::rights() {
        HostRights::Root => found.permissions().mode() & 0o001 != 0,
        HostRights::UserNamespace | HostRights::None => access(path, AccessFlags::X_OK).is_ok(),
    };
    let mode = found.permissions().mode() & 0o7777;
    (!allowed).then(|| format!("programs may not execute it (mode {mode:o}): chmod a+rx"))
}

/// The program that executes a file: the one that its first line names, or its loader. `None` where it needs none, or its
/// format is not known here.
fn interpreter(path: &Path) -> Option<String> {
    let mut file = File::open(path).ok()?;
    let mut head = Vec::new();
    file.by_ref().take(FIRST_LINE as u64).read_to_end(&mut head).ok()?;
    if let Some(line) = head.strip_prefix(b"#!") {
        let line = line.split(|byte| *byte == b'\n').next()?;
        let line = String::from_utf8_lossy(line);
        return line.split_whitespace().next().map(str::to_owned);
    }
    loader(&file, &head)
}

/// The loader that a 64-bit ELF program names (elf(5)).
fn loader(file: &File, head: &[u8]) -> Option<String> {
    head.strip_prefix(&ELF_64)?;
    let half = |bytes: &[u8], at: usize| Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
    let word = |bytes: &[u8], at: usize| Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let long = |bytes: &[u8], at: usize| Some(u64::from_ne_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
    // `e_phoff`, `e_phentsize`, `e_phnum`; then `p_type`, `p_offset`, `p_filesz` of each header.
    let (start, size, count) = (long(head, 32)?, half(head, 54)?, half(head, 56)?);
    for number in 0..count {
        let mut header = [0; 56];
        file.read_exact_at(&mut header, start.checked_add(u64::from(number) * u64::from(size))?).ok()?;
        if word(&header, 0)? == PT_INTERP {
            let mut name = vec![0; usize::try_from(long(&header, 32)?).ok().filter(|length| *length < 4096)?];
            file.read_exact_at(&mut name, long(&header, 8)?).ok()?;
            let name = name.split(|byte| *byte == 0).next()?;
            return Some(String::from_utf8_lossy(name).into_owned());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file with this text and mode.
    fn file(folder: &tempfile::TempDir, name: &str, text: &[u8], mode: u32) -> std::path::PathBuf {
        let path = folder.path().join(name);
        fs::write(&path, text).expect("room on the disk");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("our file");
        path
    }

    #[test]
    fn what_can_be_executed_has_no_obstacle() {
        let folder = tempfile::tempdir().expect("a folder");
        assert_eq!(obstacle(Path::new("/bin/sh")), None);
        assert_eq!(obstacle(&std::env::current_exe().expect("this test")), None);
        assert_eq!(obstacle(&file(&folder, "script", b"#! /bin/sh -e\n", 0o755)), None);
        assert_eq!(
            obstacle(&file(&folder, "other", b"MZ\0", 0o755)),
            None,
            "the kernel may have been taught this"
        );
    }

    #[test]
    fn what_cannot_says_why() {
        let folder = tempfile::tempdir().expect("a folder");
        let why = |path: &Path| obstacle(path).unwrap_or_default();
        assert_eq!(why(Path::new("/nowhere/x")), "there is no such file");
        assert_eq!(why(folder.path()), "it is a folder");
        let secret = file(&folder, "secret", b"#!/bin/sh\n", 0o644);
        assert_eq!(why(&secret), "programs may not execute it (mode 644): chmod a+rx");
        let script = file(&folder, "script", b"#!/nowhere/python3\n", 0o755);
        assert_eq!(why(&script), "it is to be executed by \"/nowhere/python3\": there is no such file");
    }

    #[test]
    fn a_program_with_the_loader_of_another_system_is_found() {
        let folder = tempfile::tempdir().expect("a folder");
        let Some(own) = interpreter(Path::new("/bin/sh")) else { return };
        let text = fs::read("/bin/sh").expect("a shell");
        let at = text.windows(own.len()).position(|bytes| bytes == own.as_bytes()).expect("its loader");
        let mut foreign = text;
        foreign[at..at + 4].copy_from_slice(b"/xxx");
        let foreign = file(&folder, "foreign", &foreign, 0o755);
        let why = obstacle(&foreign).expect("an obstacle");
        assert!(why.starts_with("it is to be executed by \"/xxx"), "{why}");
    }
}
