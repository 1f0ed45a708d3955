//! Limits of the control groups that this process is in, of version 1 and 2: of its own group and of all above it. They are
//! read only; no group is made.

use std::fs;
use std::path::{Path, PathBuf};

use super::{Ceiling, field};

/// How a hierarchy names a limit and what is used of it.
struct Names {
    limit: &'static str,
    used: &'static str,
    /// Where memory that the kernel can take back at once is counted.
    cache: Option<&'static str>,
}

const PROCESSES: Names = Names { limit: "pids.max", used: "pids.current", cache: None };
const MEMORY: Names = Names { limit: "memory.max", used: "memory.current", cache: Some("inactive_file ") };
const MEMORY_OF_VERSION_1: Names = Names {
    limit: "memory.limit_in_bytes",
    used: "memory.usage_in_bytes",
    cache: Some("total_inactive_file "),
};

/// Above that, version 1 means no limit: its value for none is the largest multiple of a page.
const NO_LIMIT: u64 = i64::MAX as u64 / 2;

/// The limits of processes and threads.
pub(super) fn processes() -> Vec<Ceiling> {
    let one = hierarchy("pids").map(|groups| ceilings(&groups, &PROCESSES));
    let two = hierarchy("").map(|groups| ceilings(&groups, &PROCESSES));
    one.into_iter().chain(two).flatten().collect()
}

/// The limits of memory, in bytes.
pub(super) fn memory() -> Vec<Ceiling> {
    let one = hierarchy("memory").map(|groups| ceilings(&groups, &MEMORY_OF_VERSION_1));
    let two = hierarchy("").map(|groups| ceilings(&groups, &MEMORY));
    one.into_iter().chain(two).flatten().collect()
}

/// The folders of this process' group and those above it, in the hierarchy of a controller; version 2 has no name.
fn hierarchy(controller: &str) -> Option<Vec<PathBuf>> {
    let group = group_of(&fs::read_to_string("/proc/self/cgroup").ok()?, controller)?;
    let (root, point) = mount_of(&fs::read_to_string("/proc/self/mountinfo").ok()?, controller)?;
    Some(folders(&point, &root, &group))
}

/// The group in a hierarchy: lines `ID:CONTROLLERS:PATH` (cgroups(7)).
fn group_of(text: &str, controller: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let mut words = line.splitn(3, ':').skip(1);
        let of_it = words.next()?.split(',').any(|name| name == controller);
        words.next().filter(|_| of_it).map(str::to_owned)
    })
}

/// Where a hierarchy is mounted, and the group that is its root there (proc_pid_mountinfo(5)).
fn mount_of(text: &str, controller: &str) -> Option<(String, PathBuf)> {
    text.lines().find_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let (kind, options) = (after.split(' ').next()?, after.rsplit(' ').next()?);
        let is_it = match controller {
            "" => kind == "cgroup2",
            name => kind == "cgroup" && options.split(',').any(|option| option == name),
        };
        let mut words = before.split(' ').skip(3);
        let (root, point) = (words.next()?, words.next()?);
        is_it.then(|| (root.to_owned(), PathBuf::from(point)))
    })
}

/// A group's folder and all above it, as far as they can be seen. What lies outside of what is mounted cannot.
fn folders(point: &Path, root: &str, group: &str) -> Vec<PathBuf> {
    let below = Path::new(group).strip_prefix(root).unwrap_or(Path::new(""));
    let own = point.join(below);
    let folders = own.ancestors().take_while(|folder| folder.starts_with(point));
    folders.map(Path::to_owned).collect()
}

fn ceilings(groups: &[PathBuf], names: &Names) -> Vec<Ceiling> {
    groups.iter().filter_map(|group| ceiling(group, names)).collect()
}

/// The limit of a group, if it has one.
fn ceiling(group: &Path, names: &Names) -> Option<Ceiling> {
    let number = |file: &str| fs::read_to_string(group.join(file)).ok()?.trim().parse::<u64>().ok();
    let limit = number(names.limit).filter(|limit| *limit < NO_LIMIT)?;
    let stat = || fs::read_to_string(group.join("memory.stat")).unwrap_or_default();
    let cache = names.cache.and_then(|cache| field(&stat(), cache)).unwrap_or(0);
    let used = number(names.used).unwrap_or(0).saturating_sub(cache);
    Some(Ceiling { name: group.join(names.limit).display().to_string(), limit, used })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n\
        39 31 0:36 /box /sys/fs/cgroup/pids rw,relatime shared:3 - cgroup cgroup rw,pids\n\
        41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n";

    #[test]
    fn a_group_is_found_in_both_versions() {
        let text = "8:pids,devices:/box/a\n4:memory:/m\n0::/user.slice\n";
        assert_eq!(group_of(text, "pids").as_deref(), Some("/box/a"));
        assert_eq!(group_of(text, "").as_deref(), Some("/user.slice"));
        assert_eq!(group_of(text, "cpu"), None);
        let (root, point) = mount_of(MOUNTS, "pids").expect("mounted");
        assert_eq!((root.as_str(), point.as_path()), ("/box", Path::new("/sys/fs/cgroup/pids")));
        assert_eq!(mount_of(MOUNTS, "").expect("mounted").1, Path::new("/sys/fs/cgroup/unified"));
        assert_eq!(mount_of(MOUNTS, "memory"), None);
    }

    #[test]
    fn all_groups_above_count_as_far_as_they_are_mounted() {
        let seen = folders(Path::new("/cg"), "/box", "/box/a/b");
        assert_eq!(seen, ["/cg/a/b", "/cg/a", "/cg"].map(PathBuf::from));
        assert_eq!(folders(Path::new("/cg"), "/box", "/elsewhere"), [PathBuf::from("/cg")]);
    }

    #[test]
    fn memory_that_can_be_taken_back_is_not_used() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("room");
        write("memory.max", "1000000\n");
        write("memory.current", "700000\n");
        write("memory.stat", "file 9\ninactive_file 300000\n");
        let found = ceiling(folder.path(), &MEMORY).expect("a limit");
        assert_eq!((found.limit, found.used, found.room()), (1_000_000, 400_000, 600_000));
        write("memory.max", "max\n");
        assert_eq!(ceiling(folder.path(), &MEMORY), None);
        write("memory.limit_in_bytes", "9223372036854771712\n");
        assert_eq!(ceiling(folder.path(), &MEMORY_OF_VERSION_1), None);
    }
}
