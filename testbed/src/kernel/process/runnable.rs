//! Whether programs below an init have something to do: a program that could run has not answered everything yet.

use std::fs;

/// Whether a thread of a process below this one runs or waits for a processor (state `R` of proc_pid_stat(5)). Where the kernel
/// does not list children (`CONFIG_PROC_CHILDREN`), none does.
pub(super) fn any_below(process: i32) -> bool {
    threads(process)
        .iter()
        .flat_map(|thread| children(process, thread))
        .any(|child| threads(child).iter().any(|thread| is_runnable(child, thread)) || any_below(child))
}

/// The threads of a process, by their numbers. A process that has ended has none.
fn threads(process: i32) -> Vec<String> {
    let entries = fs::read_dir(format!("/proc/{process}/task"));
    let names = entries.into_iter().flatten().flatten().map(|entry| entry.file_name());
    names.filter_map(|name| name.into_string().ok()).collect()
}

fn children(process: i32, thread: &str) -> Vec<i32> {
    let listed = fs::read_to_string(format!("/proc/{process}/task/{thread}/children")).unwrap_or_default();
    listed.split_whitespace().filter_map(|number| number.parse().ok()).collect()
}

fn is_runnable(process: i32, thread: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{process}/task/{thread}/stat")).unwrap_or_default();
    // The name of a program may have any characters, also closing brackets.
    stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('R'))
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};
    use std::time::{Duration, Instant};

    use super::*;

    /// A shell with a child, which this process sees as its grandchild.
    fn shell(script: &str) -> std::process::Child {
        Command::new("sh").args(["-c", script]).stdin(Stdio::piped()).spawn().expect("a shell")
    }

    fn becomes(busy: bool, process: i32) -> bool {
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(20) {
            if any_below(process) == busy {
                return true;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        false
    }

    #[test]
    fn a_program_that_waits_is_idle_and_one_that_works_is_not() {
        for (script, busy) in [("cat; true", false), ("(while :; do :; done) & cat; kill $!", true)] {
            let mut child = shell(script);
            let process = i32::try_from(child.id()).expect("a process number");
            assert!(becomes(busy, process), "{script}");
            drop(child.stdin.take());
            child.wait().expect("it ends");
        }
    }
}
