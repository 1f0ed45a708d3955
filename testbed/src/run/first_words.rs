//! Whether the programs of a suite can be executed, looked at before the first trial.

use std::path::Path;

use crate::kernel::executable;
use crate::kernel::process::Command;
use crate::model::suite::Program;
use crate::run::sandbox::known_word;

/// What keeps a program of a part from being executed, if anything: the first word of its command, and why. Without a
/// `puncher`, commands that begin with it are not looked at.
#[must_use]
pub fn obstacle(program: &Program, puncher: Option<&Path>) -> Option<String> {
    // What such a folder holds is looked at when the program starts, by the rules that hold in there.
    if program.root.is_some() {
        return None;
    }
    program.rendezvous.iter().chain([&program.peer]).find_map(|command| {
        let word = command.first()?;
        // What is different each time is not known yet.
        let known = known_word(word, puncher.unwrap_or(Path::new(MISSING)))?;
        if known.contains(MISSING) {
            return None;
        }
        not_found(&known).map(|why| format!("cannot execute the program \"{known}\": {why}"))
    })
}

/// Stands in for a puncher that nobody has named.
const MISSING: &str = "\0";

fn not_found(word: &str) -> Option<String> {
    let path = Path::new(word);
    if path.is_relative() && word.contains('/') {
        return Some(
            "programs start in an empty folder; name it from the suite's folder, as {suite_dir}/NAME"
                .to_owned(),
        );
    }
    match Command::new(word).path() {
        Some(found) => executable::obstacle(&found),
        None if word.contains('/') => executable::obstacle(path),
        None => Some("no folder of PATH has it".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::suite_file;

    /// What is said of a suite whose peers are started so.
    fn of(peer: &str) -> Option<String> {
        let program = Program { peer: vec![peer.to_owned()], rendezvous: None, ..suite_file::own_puncher() };
        obstacle(&program, None)
    }

    #[test]
    fn programs_that_are_there_have_no_obstacle() {
        assert_eq!([of("/bin/sh"), of("sh"), of("{puncher}"), of("{suite_dir}/x")], [None, None, None, None]);
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let cannot = "cannot execute the program";
        for (word, why) in [
            ("/nowhere/x", "there is no such file"),
            ("no-such-program-here", "no folder of PATH has it"),
            ("/usr", "it is a folder"),
        ] {
            assert_eq!(of(word), Some(format!("{cannot} \"{word}\": {why}")));
        }
        assert!(of("./x").is_some_and(|why| why.contains("{suite_dir}/NAME")));
    }

    #[test]
    fn programs_of_a_root_of_their_own_are_not_looked_for_on_this_machine() {
        let own = suite_file::own_puncher();
        let peer = vec!["/only/there".to_owned()];
        let program = Program { peer, rendezvous: None, root: Some("/image".into()), ..own };
        assert_eq!(obstacle(&program, None), None);
    }

    #[test]
    fn a_puncher_that_is_not_there_is_named_where_it_is_known() {
        let program = suite_file::own_puncher();
        assert!(obstacle(&program, Some(Path::new("/nowhere/puncher"))).is_some());
        assert_eq!(obstacle(&program, None), None);
    }
}
