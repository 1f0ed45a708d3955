//! A root file system of the user's in the place of the machine's: where a path leads to in there, and why a program of it does
//! not start.

use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use crate::kernel::executable::{self, Demand};

/// Symbolic links that are followed at most (path_resolution(7)).
const MOST_LINKS: usize = 40;

/// Where an absolute path leads to if `root` is the root folder; `None` if there is nothing.
#[must_use]
pub fn resolve(root: &Path, path: &Path) -> Option<PathBuf> {
    let mut rest: Vec<PathBuf> = parts(path);
    let (mut inside, mut links) = (PathBuf::from("/"), 0);
    while let Some(part) = rest.pop() {
        if part == Path::new("..") {
            inside.pop();
            continue;
        }
        let here = inside.join(&part);
        let found = root.join(here.strip_prefix("/").unwrap_or(&here));
        if !fs::symlink_metadata(&found).ok()?.is_symlink() {
            inside = here;
            continue;
        }
        links += 1;
        let target = fs::read_link(&found).ok().filter(|_| links <= MOST_LINKS)?;
        if target.is_absolute() {
            inside = PathBuf::from("/");
        }
        rest.extend(parts(&target));
    }
    Some(root.join(inside.strip_prefix("/").unwrap_or(&inside)))
}

/// How a program comes to be seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    /// It is a file of the machine's that is named.
    AtItsOwnPath,
    /// It is in the root file system.
    WithTheRoot,
}

/// The names in a path, the last one first.
fn parts(path: &Path) -> Vec<PathBuf> {
    let named = path.components().filter(|part| matches!(part, Component::Normal(_) | Component::ParentDir));
    let mut parts: Vec<PathBuf> = named.map(|part| PathBuf::from(part.as_os_str())).collect();
    parts.reverse();
    parts
}

/// Why a program cannot be executed, as far as its file tells; `None` where nothing speaks against it. `root` is where the kernel
/// looks for what the program needs, and for the program itself unless that is a file of the machine's, shown at its own path.
#[must_use]
pub fn obstacle(root: &Path, program: &Path, shown: Shown) -> Option<String> {
    let is_machine = root == Path::new("/");
    let file = match shown {
        Shown::AtItsOwnPath => Some(program.to_owned()),
        Shown::WithTheRoot => resolve(root, program),
    };
    let Some(file) = file else {
        return Some(match is_machine {
            true => "there is no such file".to_owned(),
            false => format!("\"{}\" has no {}", root.display(), program.display()),
        });
    };
    executable::obstacle(&file).or_else(|| match executable::demand(&file) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => None,
        Err(error) => Some(format!("it cannot be read: {error}")),
        Ok(Demand::Machine(machine)) => {
            Some(format!("it is made for {machine}, and this machine is {}", std::env::consts::ARCH))
        }
        Ok(Demand::Interpreter(path)) => {
            let why = match resolve(root, &path) {
                Some(found) => executable::obstacle(&found)?,
                None if is_machine => "there is none on this machine".to_owned(),
                None => format!("\"{}\" has no {}", root.display(), path.display()),
            };
            Some(format!("it needs {}, and {why}", path.display()))
        }
        Ok(Demand::Nothing) => None,
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    #[test]
    fn links_lead_to_places_below_the_root() {
        let root = tempfile::tempdir().expect("a folder");
        let at = |path: &str| root.path().join(path);
        fs::create_dir_all(at("usr/bin")).expect("room");
        fs::write(at("usr/bin/node"), "x").expect("room");
        symlink("usr/bin", at("bin")).expect("a link");
        symlink("/bin/node", at("nodejs")).expect("a link");
        symlink("../../../../bin/node", at("usr/up")).expect("a link");
        symlink("/round", at("round")).expect("a link");
        for path in ["/bin/node", "/nodejs", "/usr/up", "/usr/../bin/./node"] {
            assert_eq!(resolve(root.path(), Path::new(path)), Some(at("usr/bin/node")), "{path}");
        }
        for path in ["/round", "/sbin/node", "/bin/node/x"] {
            assert_eq!(resolve(root.path(), Path::new(path)), None, "{path}");
        }
    }

    #[test]
    fn what_a_program_lacks_is_named() {
        let root = tempfile::tempdir().expect("a folder");
        let add = |name: &str, bytes: &[u8], mode: u32| {
            let path = root.path().join(name);
            fs::write(&path, bytes).expect("room");
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("our file");
        };
        add("script", b"#! /usr/bin/python3 -u\n", 0o755);
        add("other", &executable::tests::elf(183, None), 0o755);
        add("dynamic", &executable::tests::elf(0, Some("/lib/ld.so")), 0o755);
        add("secret", b"#!/nothing\n", 0o644);
        add("by-secret", b"#!/secret\n", 0o755);
        let why = |name: &str| {
            let found = obstacle(root.path(), Path::new(name), Shown::WithTheRoot);
            found.unwrap_or_else(|| panic!("{name} lacks nothing"))
        };
        assert!(why("/script").starts_with("it needs /usr/bin/python3, and \""), "{}", why("/script"));
        assert!(why("/dynamic").starts_with("it needs /lib/ld.so, and"), "{}", why("/dynamic"));
        assert!(why("/nothing").ends_with("has no /nothing"), "{}", why("/nothing"));
        assert!(why("/secret").starts_with("programs may not execute it"), "{}", why("/secret"));
        assert!(
            why("/by-secret").starts_with("it needs /secret, and programs may not"),
            "{}",
            why("/by-secret")
        );
        if std::env::consts::ARCH == "x86_64" {
            assert!(why("/other").starts_with("it is made for aarch64, and this"), "{}", why("/other"));
        }
        let needs = obstacle(root.path(), &root.path().join("script"), Shown::AtItsOwnPath);
        assert_eq!(needs, Some(why("/script")), "what it needs is looked for in the root");
    }

    #[test]
    fn what_the_machine_has_can_be_executed_and_what_it_lacks_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            fs::write(&path, bytes).expect("room");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("our file");
            path
        };
        let of = |path: &Path| obstacle(Path::new("/"), path, Shown::AtItsOwnPath);
        assert_eq!(
            [of(Path::new("/bin/sh")), of(&std::env::current_exe().expect("this test"))],
            [None, None]
        );
        assert_eq!(of(&file("script", b"#! /bin/sh -e\n")), None);
        assert_eq!(of(&file("other", b"MZ\0")), None, "the kernel may have been taught this");
        assert_eq!(
            obstacle(Path::new("/"), Path::new("/nowhere/x"), Shown::WithTheRoot),
            of(Path::new("/nowhere/x"))
        );
        let nothing = "it needs /nowhere/python3, and there is none on this machine";
        assert_eq!(of(&file("nothing", b"#!/nowhere/python3\n")).as_deref(), Some(nothing));
        let foreign = executable::tests::elf(0, Some("/nowhere/ld.so"));
        assert!(of(&file("foreign", &foreign)).is_some_and(|why| why.starts_with("it needs /nowhere/ld.so")));
    }
}
