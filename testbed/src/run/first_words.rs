//! Whether the programs of a suite can be executed, looked at before the first trial: those of the machine and those of a root of
//! their own, peers, servers and services.

use std::path::{Path, PathBuf};

use crate::kernel::process::Command;
use crate::kernel::sandbox::image::{self, Shown};
use crate::model::suite::Program;
use crate::run::sandbox::{START_FOLDER, in_path_of_root, known_word};

/// What keeps a program of a part from being executed, if anything: the first word of its command, and why. Without a
/// `puncher`, commands that begin with it are not looked at.
#[must_use]
pub fn obstacle(program: &Program, puncher: Option<&Path>) -> Option<String> {
    let root = program.root.as_deref().and_then(|root| known_word(root, puncher)).map(PathBuf::from);
    program.commands().find_map(|command| {
        let word = command.first()?;
        // What is different each time is not known yet.
        let known = known_word(word, puncher)?;
        let why = match &root {
            Some(root) => not_found_in(root, &known, program, puncher),
            None => not_found(&known),
        };
        why.map(|why| format!("cannot execute the program \"{known}\": {why}"))
    })
}

fn not_found(word: &str) -> Option<String> {
    let path = Path::new(word);
    if path.is_relative() && word.contains('/') {
        return Some(START_FOLDER.to_owned());
    }
    match Command::new(word).path() {
        None if !word.contains('/') => Some("no folder of PATH has it".to_owned()),
        found => image::obstacle(Path::new("/"), &found.unwrap_or(path.to_owned()), Shown::AtItsOwnPath),
    }
}

/// The same of a program whose root file system is a folder of the machine. What that has not, but the machine has, is shown to it.
fn not_found_in(root: &Path, word: &str, program: &Program, puncher: Option<&Path>) -> Option<String> {
    let path = if word.contains('/') {
        PathBuf::from(word)
    } else {
        let known = |(name, value): &(String, String)| Some((name.clone(), known_word(value, puncher)?));
        let environment: Vec<_> = program.environment.iter().filter_map(known).collect();
        match in_path_of_root(root, word, &environment) {
            Ok(path) => PathBuf::from(path),
            Err(why) => return Some(why),
        }
    };
    let shown = match image::resolve(root, &path).is_none() && path.is_file() {
        true => Shown::AtItsOwnPath,
        false => Shown::WithTheRoot,
    };
    image::obstacle(root, &path, shown)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::model::program::{Readiness, Service};
    use crate::model::suite_file;
    use crate::model::topology::NodeName;

    /// The programs of a suite without a server whose peers are started so.
    fn program(peer: &str) -> Program {
        Program { peer: vec![peer.to_owned()], rendezvous: None, ..suite_file::own_puncher() }
    }

    fn of(peer: &str) -> Option<String> {
        obstacle(&program(peer), None)
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
    fn a_service_that_is_not_there_is_named() {
        let service = Service {
            name: "relay".to_owned(),
            node: NodeName::core(),
            command: vec!["/nowhere/relay".to_owned()],
            ready: Readiness::Tcp(1),
        };
        let program = Program { services: vec![service], ..program("/bin/sh") };
        assert!(obstacle(&program, None).is_some_and(|why| why.contains("\"/nowhere/relay\"")));
    }

    #[test]
    fn programs_of_a_root_of_their_own_are_looked_for_in_there() {
        let root = tempfile::tempdir().expect("a folder");
        let add = |name: &str, text: &str| {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().expect("a folder")).expect("room on the disk");
            fs::write(&path, text).expect("room on the disk");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("our own");
        };
        add("usr/bin/there", "#!/usr/bin/runs\n");
        add("usr/bin/runs", "");
        add("usr/bin/script", "#!/usr/bin/python3\n");
        add("opt/only", "");
        let shown = root.path().join("usr/bin/script").display().to_string();
        let why = |word: &str, path: Option<&str>| {
            let environment = path.map(|path| ("PATH".to_owned(), path.to_owned())).into_iter().collect();
            let own = Some(root.path().display().to_string());
            obstacle(&Program { root: own, environment, ..program(word) }, None)
        };
        for word in ["/usr/bin/there", "there", "runs", "{role}"] {
            assert_eq!(why(word, None), None, "{word}");
        }
        assert_eq!(why("only", Some("/bin:/opt")), None);
        for (word, lacks) in [
            ("/bin/sh", "it needs /lib"),
            ("/usr/bin/none", "has no /usr/bin/none"),
            ("only", "has no such program in its PATH"),
            ("script", "it needs /usr/bin/python3, and"),
            // A file of the machine's is shown at its own path; what it needs is not.
            (shown.as_str(), "it needs /usr/bin/python3, and"),
        ] {
            let why = why(word, None).unwrap_or_default();
            assert!(why.contains(lacks), "{word}: {why}");
        }
    }

    #[test]
    fn a_puncher_that_is_not_there_is_named_where_it_is_known() {
        let program = suite_file::own_puncher();
        assert!(obstacle(&program, Some(Path::new("/nowhere/puncher"))).is_some());
        assert_eq!(obstacle(&program, None), None);
    }
}
