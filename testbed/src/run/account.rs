//! A program's own account of a trial: what it printed and how it ended, read by the contract. Pure.
//!
//! The judge uses an account for two things only: whether success is claimed, and which connection it names.

use std::net::SocketAddrV4;

use serde::Deserialize;

use crate::model::suite::Claim;

/// Longest line that a program may print.
pub const LONGEST_LINE: usize = 64 * 1024;

/// How a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It exited with this code.
    Exited(i32),
    /// This signal ended it.
    Signalled(i32),
    /// It was still running when its time was up, and was killed.
    Killed,
}

/// What is wrong with the end of a program that was to stay until it is killed.
#[must_use]
pub fn broke(end: End) -> Option<String> {
    match end {
        End::Signalled(signal) => Some(format!("was ended by signal {signal}")),
        End::Exited(0) | End::Killed => None,
        End::Exited(code) => Some(format!("exited with code {code}")),
    }
}

/// What a program said about success.
#[derive(Debug, Clone, PartialEq)]
pub enum Said {
    /// It claims success, over this connection if it named one.
    Success(Named),
    /// It says that there was none, with its reason.
    Failure(String),
    /// A signal ended it.
    Crashed(String),
    /// It broke the contract.
    Broken(String),
    /// It was killed before it said anything.
    Nothing,
}

/// The connection that a successful program names.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Named {
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
pub fn read(claim: &Claim, stdout: &[u8], end: End) -> Said {
    match (claim, end) {
        (_, End::Signalled(signal)) => Said::Crashed(format!("was ended by signal {signal}")),
        (Claim::Json, end) => read_json(stdout, end),
        (_, End::Killed) if !matches!(claim, Claim::Stdout(_)) => Said::Nothing,
        (Claim::Exit, End::Exited(0)) => Said::Success(Named::default()),
        (Claim::Exit, _) => Said::Failure("exit code".to_owned()),
        (Claim::Stdout(text), end) => {
            let said = String::from_utf8_lossy(stdout).lines().any(|line| line.contains(text.as_str()));
            match (said, end) {
                (true, _) => Said::Success(Named::default()),
                (false, End::Killed) => Said::Nothing,
                (false, _) => Said::Failure(format!("did not print \"{text}\"")),
            }
        }
    }
}

fn read_json(stdout: &[u8], end: End) -> Said {
    let mut result = None;
    for (number, line) in stdout.split(|b| *b == b'\n').enumerate().filter(|(_, l)| !l.is_empty()) {
        let number = number + 1;
        if line.len() > LONGEST_LINE {
            return Said::Broken(format!(
                "printed a line {number} of {} bytes; 64 KiB are allowed",
                line.len()
            ));
        }
        if result.is_some() {
            return Said::Broken(format!("printed line {number} after its result line"));
        }
        match serde_json::from_slice(line) {
            Ok(Line::Result { ok, local, remote, method, error }) => {
                result = Some((ok, local.zip(remote), method, error));
            }
            Ok(Line::Other) => {}
            // A program that was cut off in the middle of a line did not print garbage.
            Err(_) if end == End::Killed && !stdout.ends_with(b"\n") => {}
            Err(error) => {
                return Said::Broken(format!("printed a line {number} that is not of the contract: {error}"));
            }
        }
    }
    match (result, end) {
        (None, End::Killed) => Said::Nothing,
        (None, End::Exited(code)) => Said::Broken(format!("exited with code {code} without a result line")),
        (Some((true, Some(connection), method, _)), End::Exited(0) | End::Killed) => {
            Said::Success(Named { connection: Some(connection), method })
        }
        (Some((true, None, ..)), _) => Said::Broken("claimed success without naming both ends".to_owned()),
        (Some((false, _, _, error)), End::Exited(1) | End::Killed) => {
            Said::Failure(error.unwrap_or_else(|| "no reason given".to_owned()))
        }
        (Some((false, _, _, error)), End::Exited(2)) => {
            Said::Broken(format!("could not run: {}", error.unwrap_or_else(|| "no reason given".to_owned())))
        }
        (Some((ok, ..)), End::Exited(code)) => {
            Said::Broken(format!("said ok={ok} and exited with code {code}"))
        }
        (_, End::Signalled(signal)) => Said::Crashed(format!("was ended by signal {signal}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WON: &str =
        r#"{"event":"result","ok":true,"local":"10.0.0.2:4000","remote":"198.51.100.2:4001","method":"m"}"#;

    #[test]
    fn a_success_names_its_connection() {
        let text = format!("{{\"event\":\"mapped\",\"local\":\"x\"}}\n{WON}\n");
        let Said::Success(named) = read(&Claim::Json, text.as_bytes(), End::Exited(0)) else {
            panic!("success")
        };
        let (local, remote) = named.connection.expect("named");
        assert_eq!(
            (local.to_string().as_str(), remote.to_string().as_str()),
            ("10.0.0.2:4000", "198.51.100.2:4001")
        );
    }

    #[test]
    fn every_breach_of_the_contract_is_named() {
        let lost = r#"{"event":"result","ok":false,"error":"no path"}"#;
        let cases: &[(&str, End, &str)] = &[
            ("", End::Exited(0), "exited with code 0 without a result line"),
            ("", End::Signalled(11), "was ended by signal 11"),
            ("hello\n", End::Exited(0), "printed a line 1 that is not of the contract"),
            (&format!("{WON}\n"), End::Exited(3), "said ok=true and exited with code 3"),
            (&format!("{lost}\n"), End::Exited(0), "said ok=false and exited with code 0"),
            (&format!("{lost}\n"), End::Exited(2), "could not run: no path"),
            (&format!("{WON}\n{WON}\n"), End::Exited(0), "printed line 2 after its result line"),
            (r#"{"event":"result","ok":true}"#, End::Exited(0), "claimed success without naming both ends"),
            (
                &"x".repeat(LONGEST_LINE + 1),
                End::Exited(0),
                "printed a line 1 of 65537 bytes; 64 KiB are allowed",
            ),
        ];
        for (text, end, expected) in cases {
            match read(&Claim::Json, text.as_bytes(), *end) {
                Said::Broken(why) | Said::Crashed(why) => {
                    assert!(why.starts_with(expected), "{why:?} does not start with {expected:?}")
                }
                other => panic!("{expected}: {other:?}"),
            }
        }
        let cut_off = read(&Claim::Json, br#"{"event":"resu"#, End::Killed);
        assert_eq!(cut_off, Said::Nothing, "a program cut off in the middle of a line is no liar");
    }

    #[test]
    fn programs_without_json_claim_by_exit_code_or_by_text() {
        assert_eq!(read(&Claim::Exit, b"whatever", End::Exited(0)), Said::Success(Named::default()));
        assert!(matches!(read(&Claim::Exit, b"", End::Exited(7)), Said::Failure(_)));
        assert_eq!(read(&Claim::Exit, b"", End::Killed), Said::Nothing);
        let text = Claim::Stdout("connected".into());
        assert_eq!(read(&text, b"ok\nconnected to b\n", End::Killed), Said::Success(Named::default()));
        assert!(matches!(read(&text, b"ok\n", End::Exited(0)), Said::Failure(_)));
    }
}
