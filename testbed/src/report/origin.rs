//! Where a run came from: when, on which host, by which command, and which programs were under test.

use serde::{Deserialize, Serialize};

/// Where a run came from. Every text is empty in results that an older testbed wrote.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Origin {
    /// When the run started: RFC 3339, in UTC, to the second.
    pub started: String,
    /// The name of the host.
    pub host: String,
    /// The command that started the run, program first.
    pub command: Vec<String>,
    /// The files of the programs under test.
    pub programs: Vec<TestedProgram>,
}

/// A file that the commands of a suite name: a program, or a script that an interpreter runs.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TestedProgram {
    /// Its path.
    pub path: String,
    /// The SHA-256 digest of its content, as `sha256sum` prints it; empty where it could not be read.
    pub sha256: String,
    /// What the program itself says its version is. Only the puncher that comes with testbed is asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

impl Origin {
    /// The command as one types it; words with blanks or quotes are quoted.
    #[must_use]
    pub fn command_line(&self) -> String {
        self.command.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ")
    }

    /// The command that runs one cell of the run again and keeps everything; `None` where the run was no `testbed run`.
    #[must_use]
    pub fn command_that_keeps(&self, cell: &str) -> Option<String> {
        let arguments = self.command.get(2..).filter(|_| self.command[1] == "run")?;
        let mut words = vec!["testbed".to_owned(), "run".to_owned()];
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            let (option, value) =
                argument.split_once('=').map_or((argument.as_str(), None), |(o, v)| (o, Some(v)));
            if !NARROWING.contains(&option) {
                words.push(quoted(argument));
            } else if value.is_none() {
                arguments.next();
            }
        }
        words.extend(["--filter".to_owned(), quoted(&format!("cell={cell}")), "--keep all".to_owned()]);
        Some(words.join(" "))
    }
}

/// Options that say which part of a run is made and where it goes; each has a value.
const NARROWING: [&str; 5] = ["--out", "--keep", "--rerun", "--shard", "--baseline"];

impl TestedProgram {
    /// For people: the version where it is known, else the first digits of the digest.
    #[must_use]
    pub fn identity(&self) -> String {
        match (&self.version, self.sha256.get(..12)) {
            (Some(version), _) => version.clone(),
            (None, Some(digits)) => format!("SHA-256 {digits}…"),
            (None, None) => "unreadable".to_owned(),
        }
    }
}

/// A word for a shell.
#[must_use]
pub fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_=+./,:@%~".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_can_be_typed_again() {
        let command = ["testbed", "run", "a b", "--filter", "nat-a!=x*", "it's", ""].map(str::to_owned);
        let origin = Origin { command: command.to_vec(), ..Origin::default() };
        assert_eq!(origin.command_line(), r"testbed run 'a b' --filter 'nat-a!=x*' 'it'\''s' ''");
    }

    #[test]
    fn a_cell_is_run_again_as_it_was_and_kept() {
        let words =
            "/opt/testbed run once.toml --out run --keep=none --nats own.toml --seed 7 --rerun old -q";
        let command = words.split(' ').map(str::to_owned).collect();
        let origin = Origin { command, ..Origin::default() };
        assert_eq!(
            origin.command_that_keeps("a/b").as_deref(),
            Some("testbed run once.toml --nats own.toml --seed 7 -q --filter cell=a/b --keep all")
        );
        let merged = Origin { command: vec!["testbed".to_owned(), "merge".to_owned()], ..Origin::default() };
        assert_eq!((merged.command_that_keeps("a"), Origin::default().command_that_keeps("a")), (None, None));
    }

    #[test]
    fn a_program_is_known_by_its_version_or_its_digest() {
        let digest = TestedProgram { sha256: "0123456789abcdef".to_owned(), ..TestedProgram::default() };
        assert_eq!(digest.identity(), "SHA-256 0123456789ab…");
        let version = TestedProgram { version: Some("puncher 0.1.0".to_owned()), ..digest };
        assert_eq!(version.identity(), "puncher 0.1.0");
        assert_eq!(TestedProgram::default().identity(), "unreadable");
    }
}
