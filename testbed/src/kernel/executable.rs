//! Whether a file can be executed, as far as one can tell without doing it: its permissions, and what its first bytes demand, a
//! machine, a loader or an interpreter (elf(5), execve(2)). Where these are looked for is the sandbox's matter.
//!
//! What only the kernel knows, such as other formats that it was taught (binfmt_misc), is left to the attempt.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, access};

use crate::kernel::host::{self, HostRights};
use crate::kernel::user_file;

/// What the kernel reads of a script's first line, and where the headers of a program are.
const BEGIN: usize = 4096;

/// What a program demands of where it is executed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Demand {
    /// Another machine than this one.
    Machine(String),
    /// This file, its loader or the interpreter of a script.
    Interpreter(PathBuf),
    /// Nothing that can be told.
    Nothing,
}

/// Names for `e_machine` of elf(5).
const MACHINES: [(u16, &str); 8] = [
    (3, "i386"),
    (8, "mips"),
    (20, "powerpc"),
    (21, "powerpc64"),
    (40, "arm"),
    (62, "x86_64"),
    (183, "aarch64"),
    (243, "riscv"),
];

/// What a file lacks in itself, as a program under test sees it; `None` where nothing speaks against it.
pub(super) fn obstacle(path: &Path) -> Option<String> {
    // Reading from a pipe would wait for who writes to it.
    let found = match user_file::look_at(path) {
        Ok(found) => found,
        Err(why) => return Some(why.to_string()),
    };
    // Programs of a run that root starts belong to users who own nothing.
    let allowed = match host::rights() {
        HostRights::Root => found.permissions().mode() & 0o001 != 0,
        HostRights::UserNamespace | HostRights::None => access(path, AccessFlags::X_OK).is_ok(),
    };
    let mode = found.permissions().mode() & 0o7777;
    (!allowed).then(|| format!("programs may not execute it (mode {mode:o}): chmod a+rx"))
}

/// Reads what a program demands.
pub(super) fn demand(file: &Path) -> io::Result<Demand> {
    let own = begin(Path::new("/proc/self/exe"))?;
    Ok(demand_of(&begin(file)?, &own))
}

fn begin(file: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(file)?.take(BEGIN as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// What a program demands where one that begins with `own` runs.
fn demand_of(bytes: &[u8], own: &[u8]) -> Demand {
    if let Some(line) = bytes.strip_prefix(b"#!") {
        let line = line.split(|byte| *byte == b'\n').next().unwrap_or_default().trim_ascii();
        let path = line.split(|byte| byte.is_ascii_whitespace()).next().unwrap_or_default();
        return if path.is_empty() { Demand::Nothing } else { interpreter(path) };
    }
    let Some(machine) = machine(bytes) else { return Demand::Nothing };
    if self::machine(own).is_some_and(|own| own != machine) {
        let name = MACHINES.iter().find(|(number, _)| *number == machine).map(|(_, name)| (*name).to_owned());
        return Demand::Machine(name.unwrap_or_else(|| format!("machine {machine} of ELF")));
    }
    loader(bytes).map_or(Demand::Nothing, interpreter)
}

fn interpreter(path: &[u8]) -> Demand {
    Demand::Interpreter(PathBuf::from(OsStr::from_bytes(path)))
}

/// A number of an ELF file of this machine's byte order, which all of its programs have.
fn number<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

fn machine(bytes: &[u8]) -> Option<u16> {
    bytes.starts_with(b"\x7fELF").then_some(())?;
    // The order that the file itself says.
    let machine = number(bytes, 18)?;
    Some(if bytes.get(5) == Some(&2) { u16::from_be_bytes(machine) } else { u16::from_le_bytes(machine) })
}

/// The path in the program header PT_INTERP of a 64-bit program.
fn loader(bytes: &[u8]) -> Option<&[u8]> {
    const PT_INTERP: u32 = 3;
    (bytes.get(4) == Some(&2)).then_some(())?;
    let word = |at| number(bytes, at).map(u64::from_ne_bytes).and_then(|word| usize::try_from(word).ok());
    let half = |at| number(bytes, at).map(u16::from_ne_bytes).map(usize::from);
    let (headers, size, count) = (word(32)?, half(54)?, half(56)?);
    for header in (0..count).map(|n| headers.checked_add(n.checked_mul(size)?)) {
        let header = header?;
        if number(bytes, header).map(u32::from_ne_bytes)? == PT_INTERP {
            let (at, length) = (word(header.checked_add(8)?)?, word(header.checked_add(32)?)?);
            let path = bytes.get(at..at.checked_add(length)?)?;
            return path.split(|byte| *byte == 0).next();
        }
    }
    None
}

#[cfg(test)]
pub(super) mod tests {
    use std::fs;

    use super::*;

    /// The begin of a 64-bit program for a machine, 0 for this one, with a loader.
    pub(in crate::kernel) fn elf(machine: u16, loader: Option<&str>) -> Vec<u8> {
        let own = begin(Path::new("/proc/self/exe")).expect("this program");
        let mut bytes = own[..64].to_vec();
        bytes[4] = 2;
        if machine > 0 {
            bytes[18..20].copy_from_slice(&machine.to_le_bytes());
        }
        bytes[32..40].copy_from_slice(&64_u64.to_ne_bytes());
        bytes[54..56].copy_from_slice(&56_u16.to_ne_bytes());
        bytes[56..58].copy_from_slice(&u16::from(loader.is_some()).to_ne_bytes());
        if let Some(loader) = loader {
            let mut header = [0_u8; 56];
            header[..4].copy_from_slice(&3_u32.to_ne_bytes());
            header[8..16].copy_from_slice(&120_u64.to_ne_bytes());
            header[32..40].copy_from_slice(&(loader.len() as u64 + 1).to_ne_bytes());
            bytes.extend(header);
            bytes.extend(loader.bytes());
            bytes.push(0);
        }
        bytes
    }

    #[test]
    fn what_is_no_program_says_why() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = |name: &str, mode: u32| {
            let path = folder.path().join(name);
            fs::write(&path, "#!/bin/sh\n").expect("room on the disk");
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("our file");
            path
        };
        assert_eq!([obstacle(Path::new("/bin/sh")), obstacle(&file("script", 0o755))], [None, None]);
        for (path, why) in [
            (PathBuf::from("/nowhere/x"), "there is no such file"),
            (PathBuf::from("/dev/null"), "it is not a regular file"),
            (folder.path().to_owned(), "it is a folder"),
            (file("secret", 0o644), "programs may not execute it (mode 644): chmod a+rx"),
        ] {
            assert_eq!(obstacle(&path).as_deref(), Some(why));
        }
    }

    #[test]
    fn scripts_and_programs_say_what_they_need() {
        let own = elf(0, None);
        let needs = |bytes: &[u8]| demand_of(bytes, &own);
        let file = |path: &str| Demand::Interpreter(PathBuf::from(path));
        assert_eq!(needs(b"#!/bin/sh -e\necho"), file("/bin/sh"));
        assert_eq!(needs(b"#! /usr/bin/env node"), file("/usr/bin/env"));
        assert_eq!(needs(b"#!\n"), Demand::Nothing);
        assert_eq!(needs(&elf(0, Some("/lib/ld.so"))), file("/lib/ld.so"));
        assert_eq!(needs(&elf(0, None)), Demand::Nothing);
        assert_eq!(needs(&elf(9999, None)), Demand::Machine("machine 9999 of ELF".into()));
        assert_eq!(needs(b"plain text"), Demand::Nothing);
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_end(bytes: Vec<u8>) {
            let own = elf(0, None);
            let _ = demand_of(&bytes, &own);
            let _ = demand_of(&[&own[..40], &bytes].concat(), &own);
        }
    }
}
