//! What a lab weighs, and what the next one costs when there are many.

use std::time::Instant;

use testbed::kernel::limits::ceilings;

use crate::labs::Builder;
use crate::table::Table;

/// At how many labs a look is taken.
const STEPS: [usize; 4] = [1, 10, 100, 1000];

/// What one lab needs of descriptors as long as no trial is played in it: 17, and while it is built some more.
const DESCRIPTORS_PER_LAB: u64 = 19;

pub(crate) fn memory(table: &mut Table) {
    let builder = Builder::new();
    // What is loaded once is not the labs'.
    drop(builder.build());
    let most = ceilings().expect("limits").files.limit;
    let before = (resident(), kernel());
    let mut labs = Vec::new();
    for step in STEPS {
        if most < step as u64 * DESCRIPTORS_PER_LAB {
            crate::table::say(&format!("  no more than {most} descriptors: no look at {step} labs"));
            break;
        }
        let mut times = Vec::new();
        while labs.len() < step {
            let start = Instant::now();
            labs.push(builder.build());
            times.push(start.elapsed());
        }
        let last = times.len().saturating_sub(20);
        table.add_times(format!("building a lab when {} stand", labs.len()), &times[last..]);
        if step >= 100 {
            let each = |now: f64, then: f64| (now - then) / labs.len() as f64;
            table.add(
                format!("memory of the harness for each of {step} labs"),
                "MB",
                vec![each(resident(), before.0)],
            );
            table.add(
                format!("memory of the kernel for each of {step} labs"),
                "MB",
                vec![each(kernel(), before.1)],
            );
        }
    }
    let start = Instant::now();
    let count = labs.len();
    drop(labs);
    table.add_times(format!("dropping {count} labs"), &[start.elapsed()]);
}

/// Memory of this process and its children in MB, as far as it is their own.
fn resident() -> f64 {
    let children = std::fs::read_dir("/proc").expect("/proc").flatten().filter_map(|entry| {
        let pid = entry.file_name().into_string().ok()?;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let parent = field(&status, "PPid:")? as u32;
        (parent == std::process::id() || pid == std::process::id().to_string())
            .then(|| field(&status, "RssAnon:"))?
    });
    children.sum::<f64>() / 1024.0
}

/// Memory that the kernel uses for itself, in MB.
fn kernel() -> f64 {
    let info = std::fs::read_to_string("/proc/meminfo").expect("/proc/meminfo");
    let kinds = ["Slab:", "KernelStack:", "PageTables:", "Percpu:", "VmallocUsed:"];
    kinds.iter().filter_map(|kind| field(&info, kind)).sum::<f64>() / 1024.0
}

fn field(text: &str, name: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse().ok())
}
