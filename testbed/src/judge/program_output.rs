//! A program's own account of a trial: what it printed and how it ended, read by the contract. Pure.
//!
//! The judge uses an account for two things only: whether success is claimed, and which connection it names.

use std::net::SocketAddrV4;

use serde::Deserialize;

use crate::judge::last_words::{self, LastWords};
use crate::model::plain_words::of_json_line;
use crate::model::suite::ResultFormat;

/// Longest line that a program may print.
pub const LONGEST_LINE: usize = 64 * 1024;

/// How a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProgramEnd {
    /// It exited with this code.
    Exited(i32),
    /// This signal ended it.
    Signalled(i32),
    /// It was still running when its time was up, and was killed.
    Killed,
}

/// What is wrong with the end of a program that was to stay until it is killed.
#[must_use]
pub fn broke(end: ProgramEnd) -> Option<String> {
    match end {
        ProgramEnd::Signalled(signal) => Some(format!("was ended by signal {signal}")),
        ProgramEnd::Exited(0) | ProgramEnd::Killed => None,
        ProgramEnd::Exited(code) => Some(format!("exited with code {code}")),
    }
}

/// What a program said about success.
#[derive(Debug, Clone, PartialEq)]
pub enum Claim {
    /// It claims success, over this connection if it named one.
    Success(SuccessClaim),
    /// It says that there was none, with its reason.
    Failure(String),
    /// It claims none by how it ended or by what it did not print. Whether it tried, only its packets tell.
    Silent(String),
    /// A signal ended it.
    Crashed(String),
    /// It broke the contract.
    Broken(String),
    /// It was killed before it said anything.
    Nothing,
}

/// The connection that a successful program names.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SuccessClaim {
    /// Its two ends: the program's own, then the far one, as its socket names them.
    pub connection: Option<(SocketAddrV4, SocketAddrV4)>,
    /// The method that won.
    pub method: Option<String>,
}

/// One line of the contract; unknown keys are for people.
#[derive(Debug, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
enum Line {
    Result {
        ok: bool,
        local: Option<SocketAddrV4>,
        remote: Option<SocketAddrV4>,
        method: Option<String>,
        error: Option<String>,
    },
    #[serde(other)]
    Other,
}

/// Reads what a peer printed.
#[must_use]
pub fn read(claim: &ResultFormat, stdout: &[u8], end: ProgramEnd) -> Claim {
    match (claim, end) {
        (_, ProgramEnd::Signalled(signal)) => Claim::Crashed(format!("was ended by signal {signal}")),
        (ResultFormat::Json, end) => read_json(stdout, end),
        (_, ProgramEnd::Killed) if !matches!(claim, ResultFormat::Stdout(_)) => Claim::Nothing,
        (ResultFormat::Exit, ProgramEnd::Exited(code)) => by_exit_code(code),
        (ResultFormat::Exit, ProgramEnd::Killed) => Claim::Nothing,
        (ResultFormat::Stdout(text), end) => {
            let said = String::from_utf8_lossy(stdout).lines().any(|line| line.contains(text.as_str()));
            match (said, end) {
                (true, _) => Claim::Success(SuccessClaim::default()),
                (false, ProgramEnd::Killed) => Claim::Nothing,
                (false, ProgramEnd::Exited(code @ (126 | 127))) => by_exit_code(code),
                (false, _) => Claim::Silent(format!("did not print \"{text}\"")),
            }
        }
    }
}

/// Whether a line of a program that is still running claims success. Not so if success is claimed by an exit code.
#[must_use]
pub fn claims_success(claim: &ResultFormat, line: &[u8]) -> bool {
    match claim {
        ResultFormat::Json => matches!(serde_json::from_slice(line), Ok(Line::Result { ok: true, .. })),
        ResultFormat::Exit => false,
        ResultFormat::Stdout(text) => String::from_utf8_lossy(line).contains(text.as_str()),
    }
}

/// What an exit code claims: 0 a connection, 1 that there was no path, and everything else that the program could not run.
fn by_exit_code(code: i32) -> Claim {
    match code {
        0 => Claim::Success(SuccessClaim::default()),
        1 => Claim::Silent("exited with code 1".to_owned()),
        // What shells say of a program that is not there, or that they may not execute (POSIX, "Exit Status for Commands").
        126 | 127 => {
            Claim::Crashed(format!("exited with code {code}, as a shell does that cannot execute a program"))
        }
        _ => Claim::Crashed(format!("exited with code {code}, which says that it could not run")),
    }
}

/// Adds to what is wrong with a program what it said last on standard error: the end of a traceback, or a complaint. A program
/// that claims no connection, and gives no reason but a traceback, has crashed.
#[must_use]
pub fn with_last_words(claim: Claim, stderr: &[u8]) -> Claim {
    let text = String::from_utf8_lossy(stderr);
    let Some(LastWords { line, uncaught }) = last_words::of(&text) else { return claim };
    let add = |why| format!("{why}; its last words: \"{}\"", quoted(line.as_bytes()));
    match claim {
        Claim::Crashed(why) => Claim::Crashed(add(why)),
        Claim::Broken(why) => Claim::Broken(add(why)),
        Claim::Silent(why) if uncaught => {
            Claim::Crashed(add(format!("{why} after an exception that it did not catch")))
        }
        Claim::Silent(why) => Claim::Silent(add(why)),
        claim => claim,
    }
}

/// How much of a line is quoted.
const QUOTED: usize = 160;

/// A line as it can stand in a sentence: its beginning, with control characters spelt out.
fn quoted(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    let mut begin = String::new();
    for character in text.chars().take(QUOTED) {
        match character.is_control() {
            true => begin.extend(character.escape_default()),
            false => begin.push(character),
        }
    }
    if text.chars().count() > QUOTED {
        begin.push('…');
    }
    begin
}

fn read_json(stdout: &[u8], end: ProgramEnd) -> Claim {
    let mut result = None;
    for (number, line) in stdout.split(|b| *b == b'\n').enumerate().filter(|(_, l)| !l.is_empty()) {
        let number = number + 1;
        if line.len() > LONGEST_LINE {
            return Claim::Broken(format!("printed a line of more than 64 KiB (line {number})"));
        }
        if result.is_some() {
            return Claim::Broken(format!("printed line {number} after its result line"));
        }
        match serde_json::from_slice(line) {
            Ok(Line::Result { ok, local, remote, method, error }) => {
                result = Some((ok, local.zip(remote), method, error));
            }
            Ok(Line::Other) => {}
            // A program that was cut off in the middle of a line did not print garbage.
            Err(_) if end == ProgramEnd::Killed && !stdout.ends_with(b"\n") => {}
            Err(error) => {
                let why = match line.trim_ascii_start().first() {
                    Some(b'{') => of_json_line(&error),
                    _ => "it is no JSON object".to_owned(),
                };
                return Claim::Broken(format!(
                    "printed a line that is not of the contract (line {number}): {why}: \"{}\"",
                    quoted(line)
                ));
            }
        }
    }
    match (result, end) {
        (None, ProgramEnd::Killed) => Claim::Nothing,
        (None, ProgramEnd::Exited(code)) => {
            Claim::Broken(format!("exited with code {code} without a result line"))
        }
        (Some((true, connection, method, _)), ProgramEnd::Exited(0) | ProgramEnd::Killed) => {
            Claim::Success(SuccessClaim { connection, method })
        }
        (Some((false, _, _, error)), ProgramEnd::Exited(1) | ProgramEnd::Killed) => {
            Claim::Failure(error.unwrap_or_else(|| "no reason given".to_owned()))
        }
        (Some((false, _, _, error)), ProgramEnd::Exited(2)) => {
            Claim::Broken(format!("could not run: {}", error.unwrap_or_else(|| "no reason given".to_owned())))
        }
        (Some((ok, ..)), ProgramEnd::Exited(code)) => {
            Claim::Broken(format!("said ok={ok} and exited with code {code}"))
        }
        (_, ProgramEnd::Signalled(signal)) => Claim::Crashed(format!("was ended by signal {signal}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WON: &str =
        r#"{"event":"result","ok":true,"local":"10.0.0.2:4000","remote":"198.51.100.2:4001","method":"m"}"#;

    #[test]
    fn what_is_wrong_is_quoted() {
        let garbage = read(&ResultFormat::Json, b"hello \x1b[2J\n", ProgramEnd::Exited(1));
        let Claim::Broken(why) = garbage else { panic!("{garbage:?}") };
        assert!(why.ends_with(": \"hello \\u{1b}[2J\""), "{why}");
        let traceback = b"Traceback (most recent call last):\n  File\nImportError: no module\n\n";
        let broken = with_last_words(Claim::Broken("exited".into()), traceback);
        let said = "exited; its last words: \"ImportError: no module\"";
        assert_eq!(broken, Claim::Broken(said.to_owned()));
        assert_eq!(with_last_words(Claim::Nothing, traceback), Claim::Nothing);
        assert_eq!(with_last_words(Claim::Broken("exited".into()), b" \n"), Claim::Broken("exited".into()));
    }

    #[test]
    fn a_success_names_its_connection() {
        let text = format!("{{\"event\":\"mapped\",\"local\":\"x\"}}\n{WON}\n");
        let Claim::Success(named) = read(&ResultFormat::Json, text.as_bytes(), ProgramEnd::Exited(0)) else {
            panic!("success")
        };
        let (local, remote) = named.connection.expect("named");
        assert_eq!(
            (local.to_string().as_str(), remote.to_string().as_str()),
            ("10.0.0.2:4000", "198.51.100.2:4001")
        );
    }

    #[test]
    fn a_success_need_not_name_its_connection() {
        let won = r#"{"event":"result","ok":true,"method":"theirs"}"#;
        let claim = read(&ResultFormat::Json, won.as_bytes(), ProgramEnd::Exited(0));
        let method = Some("theirs".to_owned());
        assert_eq!(claim, Claim::Success(SuccessClaim { connection: None, method }));
    }

    #[test]
    fn a_line_claims_success_while_its_program_runs() {
        let text = ResultFormat::Stdout("direct".into());
        assert!(claims_success(&text, b"a direct path") && !claims_success(&text, b"relayed"));
        let lost = br#"{"event":"result","ok":false,"error":"none"}"#;
        assert!(claims_success(&ResultFormat::Json, WON.as_bytes()));
        assert!(!claims_success(&ResultFormat::Json, lost) && !claims_success(&ResultFormat::Json, b"{"));
        assert!(!claims_success(&ResultFormat::Exit, b"anything"));
    }

    #[test]
    fn every_breach_of_the_contract_is_named() {
        let lost = r#"{"event":"result","ok":false,"error":"no path"}"#;
        let cases: &[(&str, ProgramEnd, &str)] = &[
            ("", ProgramEnd::Exited(0), "exited with code 0 without a result line"),
            (
                "[[[[\n",
                ProgramEnd::Exited(0),
                "printed a line that is not of the contract (line 1): it is no JSON object",
            ),
            (
                "\n{\"event\":1}\n",
                ProgramEnd::Exited(0),
                "printed a line that is not of the contract (line 2): expected a string, found the number 1",
            ),
            ("", ProgramEnd::Signalled(11), "was ended by signal 11"),
            (
                "hello\n",
                ProgramEnd::Exited(0),
                "printed a line that is not of the contract (line 1): it is no JSON object: \"hello\"",
            ),
            (&format!("{WON}\n"), ProgramEnd::Exited(3), "said ok=true and exited with code 3"),
            (&format!("{lost}\n"), ProgramEnd::Exited(0), "said ok=false and exited with code 0"),
            (&format!("{lost}\n"), ProgramEnd::Exited(2), "could not run: no path"),
            (&format!("{WON}\n{WON}\n"), ProgramEnd::Exited(0), "printed line 2 after its result line"),
            (
                &"x".repeat(LONGEST_LINE + 1),
                ProgramEnd::Exited(0),
                "printed a line of more than 64 KiB (line 1)",
            ),
        ];
        for (text, end, expected) in cases {
            match read(&ResultFormat::Json, text.as_bytes(), *end) {
                Claim::Broken(why) | Claim::Crashed(why) => {
                    assert!(why.starts_with(expected), "{why:?} does not start with {expected:?}")
                }
                other => panic!("{expected}: {other:?}"),
            }
        }
        let cut_off = read(&ResultFormat::Json, br#"{"event":"resu"#, ProgramEnd::Killed);
        assert_eq!(cut_off, Claim::Nothing, "a program cut off in the middle of a line is no liar");
    }

    #[test]
    fn programs_without_json_claim_by_exit_code_or_by_text() {
        assert_eq!(
            read(&ResultFormat::Exit, b"whatever", ProgramEnd::Exited(0)),
            Claim::Success(SuccessClaim::default())
        );
        assert!(matches!(read(&ResultFormat::Exit, b"", ProgramEnd::Exited(1)), Claim::Silent(_)));
        assert_eq!(read(&ResultFormat::Exit, b"", ProgramEnd::Killed), Claim::Nothing);
        let text = ResultFormat::Stdout("connected".into());
        assert_eq!(
            read(&text, b"ok\nconnected to b\n", ProgramEnd::Killed),
            Claim::Success(SuccessClaim::default())
        );
        assert!(matches!(read(&text, b"ok\n", ProgramEnd::Exited(0)), Claim::Silent(_)));
    }

    #[test]
    fn a_program_that_could_not_run_has_crashed_and_not_failed() {
        for (code, why) in [
            (2, "exited with code 2, which says that it could not run"),
            (101, "exited with code 101, which says that it could not run"),
            (127, "exited with code 127, as a shell does that cannot execute a program"),
        ] {
            let claim = read(&ResultFormat::Exit, b"", ProgramEnd::Exited(code));
            assert_eq!(claim, Claim::Crashed(why.to_owned()));
        }
        let text = ResultFormat::Stdout("connected".into());
        assert!(matches!(read(&text, b"", ProgramEnd::Exited(126)), Claim::Crashed(_)));
        assert!(
            matches!(read(&text, b"", ProgramEnd::Exited(3)), Claim::Silent(_)),
            "its exit code says nothing"
        );
    }

    #[test]
    fn an_exception_that_nobody_caught_is_a_crash() {
        let silent = || read(&ResultFormat::Exit, b"", ProgramEnd::Exited(1));
        let traceback = b"Traceback (most recent call last):\n  File \"x\"\nModuleNotFoundError: no module\n";
        let crashed = "exited with code 1 after an exception that it did not catch; its last words: \
                       \"ModuleNotFoundError: no module\"";
        assert_eq!(with_last_words(silent(), traceback), Claim::Crashed(crashed.to_owned()));
        let no_path = Claim::Silent("exited with code 1; its last words: \"no path\"".to_owned());
        assert_eq!(with_last_words(silent(), b"no path\n"), no_path);
        // A result line says what it means, whatever is in its log.
        let told = Claim::Failure("no path".to_owned());
        assert_eq!(with_last_words(told.clone(), traceback), told);
    }
}
