//! Who may meet here, where not everybody may: whoever holds one of the tokens.

use std::collections::HashMap;
use std::path::Path;

use crate::meeting::Role;
use crate::rendezvous::proof::{Digest, TokenProof, prove_token, token_name};
use crate::secret::{Secret, SecretError, read_private};

/// Why tokens could not be read.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The file could not be read, or others may read it.
    #[error(transparent)]
    File(#[from] SecretError),
    /// A line is no token.
    #[error("{path}:{line}: a token is 64 hexadecimal digits, as written by: puncher key")]
    Malformed {
        /// The file.
        path: String,
        /// Counts from 1.
        line: usize,
    },
    /// The file has no token in it.
    #[error("{path}: there is no token in it, so nobody could meet")]
    None {
        /// The file.
        path: String,
    },
}

/// The tokens, found by their names.
#[derive(Debug, Clone)]
pub struct Tokens(HashMap<Digest, Secret>);

impl FromIterator<Secret> for Tokens {
    fn from_iter<I: IntoIterator<Item = Secret>>(tokens: I) -> Self {
        Self(tokens.into_iter().map(|token| (token_name(&token), token)).collect())
    }
}

impl Tokens {
    /// Reads one token a line, 64 hexadecimal digits each. Blank lines and what follows a `#` are ignored.
    ///
    /// # Errors
    /// When the file cannot be read, may be read by others, or holds anything else, or none.
    pub fn from_file(path: &Path) -> Result<Self, TokenError> {
        let name = || path.display().to_string();
        let text = read_private(path)?;
        let lines = text.lines().map(|line| line.split('#').next().unwrap_or("").trim());
        let tokens = (1..).zip(lines).filter(|(_, line)| !line.is_empty()).map(|(line, token)| {
            Secret::from_hex(token).map_err(|_| TokenError::Malformed { path: name(), line })
        });
        let tokens = tokens.collect::<Result<Self, _>>()?;
        if tokens.0.is_empty() { Err(TokenError::None { path: name() }) } else { Ok(tokens) }
    }

    /// Whether this proves one of them, for this seat and over the number that was drawn for the connection.
    pub(super) fn admit(&self, proof: &TokenProof, challenge: Digest, label: &str, role: Role) -> bool {
        let token = self.0.get(&proof.name);
        token.is_some_and(|token| prove_token(token, challenge, label, role) == *proof)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn only_a_token_that_is_listed_admits_and_only_where_it_was_proved() {
        let secret = |byte| Secret::new([byte; 32]);
        let tokens: Tokens = [secret(1), secret(2)].into_iter().collect();
        let challenge = Digest::random();
        let proof = |byte| prove_token(&secret(byte), challenge, "m", Role::A);
        assert!(tokens.admit(&proof(1), challenge, "m", Role::A));
        assert!(tokens.admit(&proof(2), challenge, "m", Role::A));
        assert!(!tokens.admit(&proof(3), challenge, "m", Role::A));
        assert!(!tokens.admit(&proof(1), Digest::random(), "m", Role::A), "overheard on another connection");
        assert!(!tokens.admit(&proof(1), challenge, "m", Role::B));
    }

    #[test]
    fn a_file_holds_one_token_a_line_and_at_least_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens");
        let read = |text: &str| {
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
            Tokens::from_file(&path)
        };
        let token = "1f".repeat(32);
        let two = read(&format!("# ours\n{token}\n\n{}  # theirs\n", "ab".repeat(32))).unwrap();
        assert_eq!(two.0.len(), 2);
        let named = |result: Result<Tokens, TokenError>| result.unwrap_err().to_string();
        assert!(named(read("# nobody\n")).contains("no token"));
        assert!(named(read(&format!("{token}\n{token}0\n"))).contains("tokens:2: a token is"));
        assert!(named(Tokens::from_file(&folder.path().join("none"))).contains("cannot read"));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(Tokens::from_file(&path), Err(TokenError::File(SecretError::Exposed { .. }))));
    }
}
