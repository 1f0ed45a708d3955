//! How many trials fit into the descriptors that this process may have. Role asks for more gets fewer, and is told.

use crate::kernel::limits;
use crate::model::topology::Topology;
use crate::run::request::RunRequest;

/// What this process holds open besides labs: streams, results, the wires' engine, the runtime.
const BESIDES: u64 = 64;

/// Fits the number of trials at a time to the descriptors, and says so where that makes a difference.
pub(super) fn fit(request: &mut RunRequest) -> Option<String> {
    let most = limits::descriptor_limit().ok()?;
    let each = request.suite.parts.iter().map(|part| of_a_trial(&part.topology)).max()?;
    let room = room(most, each);
    let fits = request.jobs <= room;
    request.jobs = request.jobs.min(room);
    (!fits).then(|| {
        format!(
            "no more than {room} trials run at a time: this process may have {most} open files, and a trial needs \
             up to {each} (ulimit -n)"
        )
    })
}

/// A lab holds a namespace and two descriptors more for each node, and an ear for each link without a wire; a trial has pipes
/// of three programs, and some more while it starts them.
fn of_a_trial(topology: &Topology) -> u64 {
    4 * topology.nodes.len() as u64 + 10
}

fn room(most: u64, each: u64) -> usize {
    usize::try_from(most.saturating_sub(BESIDES) / each).unwrap_or(usize::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_least_one_trial_is_tried() {
        assert_eq!(room(20_000, 30), 664);
        assert_eq!([room(64, 30), room(10, 30), room(94, 30)], [1, 1, 1]);
    }
}
