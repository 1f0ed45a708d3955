//! Where the artefacts of a trial lie, read from results that may come from a stranger.

use std::path::{Component, Path, PathBuf};

/// The folder that the results of a run name, below the run's own; `None` for one that would lead out of it.
#[must_use]
pub fn inside(run: &Path, named: &str) -> Option<PathBuf> {
    is_inside(named).then(|| run.join(named))
}

/// Whether a name stays below the folder that it is joined to.
#[must_use]
pub fn is_inside(named: &str) -> bool {
    let mut parts = Path::new(named).components().peekable();
    // A colon makes a browser take what stands before it for a scheme.
    parts.peek().is_some() && !named.contains(':') && parts.all(|part| matches!(part, Component::Normal(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_leads_out_of_the_run_is_refused() {
        assert_eq!(inside(Path::new("run"), "cells/a~b/trial-1"), Some("run/cells/a~b/trial-1".into()));
        for out in ["", "/etc/passwd", "../other", "cells/../../x", "javascript:alert(1)", ".", "cells/.."] {
            assert_eq!(inside(Path::new("run"), out), None, "{out}");
        }
    }
}
