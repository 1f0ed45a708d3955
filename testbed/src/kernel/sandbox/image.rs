//! A root file system of the user's in the place of the machine's: where a path leads to in there, and why a program of it does
//! not start.

use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use super::executable::{self, Demand};

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

/// Why the kernel cannot execute a program, as far as its first bytes tell. `root` is where it looks for what the program needs,
/// and for the program itself unless that is a file of the machine's, shown at its own path.
#[must_use]
pub fn why_not(root: &Path, program: &Path, shown: Shown) -> Option<String> {
    let there = |path: &Path| match root == Path::new("/") {
        true => "there is none on this machine".to_owned(),
        false => format!("\"{}\" has no {}", root.display(), path.display()),
    };
    let file = match shown {
        Shown::AtItsOwnPath => Some(program.to_owned()),
        Shown::WithTheRoot => resolve(root, program),
    };
    let Some(file) = file else { return (root != Path::new("/")).then(|| there(program)) };
    match executable::demand(&file) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => None,
        Err(error) => Some(format!("it cannot be read: {error}")),
        Ok(Demand::Machine(machine)) => {
            Some(format!("it is made for {machine}, and this machine is {}", std::env::consts::ARCH))
        }
        Ok(Demand::Interpreter(path)) if resolve(root, &path).is_none() => {
            Some(format!("it needs {}, and {}", path.display(), there(&path)))
        }
        Ok(Demand::Interpreter(_) | Demand::Nothing) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

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
        fs::write(root.path().join("script"), "#! /usr/bin/python3 -u\n").expect("room");
        fs::write(root.path().join("other"), executable::tests::elf(183, None)).expect("room");
        fs::write(root.path().join("dynamic"), executable::tests::elf(0, Some("/lib/ld.so"))).expect("room");
        let why = |name: &str| {
            let found = why_not(root.path(), Path::new(name), Shown::WithTheRoot);
            found.unwrap_or_else(|| panic!("{name} lacks nothing"))
        };
        assert!(why("/script").starts_with("it needs /usr/bin/python3, and \""), "{}", why("/script"));
        assert!(why("/dynamic").starts_with("it needs /lib/ld.so, and"), "{}", why("/dynamic"));
        assert!(why("/nothing").ends_with("has no /nothing"), "{}", why("/nothing"));
        if std::env::consts::ARCH == "x86_64" {
            assert!(why("/other").starts_with("it is made for aarch64, and this"), "{}", why("/other"));
        }
        let shell = Path::new("/bin/sh");
        assert_eq!(why_not(Path::new("/"), shell, Shown::WithTheRoot), None);
        let needs = why_not(root.path(), &root.path().join("script"), Shown::AtItsOwnPath);
        assert_eq!(needs, Some(why("/script")), "what it needs is looked for in the root");
    }
}
