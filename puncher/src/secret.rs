//! The secret that both peers share, and keyed hashes under it.

use std::fmt;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::Path;

use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::platform::{Host, System as _};

/// Bytes of a secret, a key and a seal.
pub(crate) const KEY_BYTES: usize = 32;

/// The secret that both peers share. Its `Debug` form does not show it.
///
/// ```
/// use puncher::Secret;
///
/// let secret = Secret::random();
/// let again = Secret::from_hex(&secret.to_hex())?;
/// assert_eq!(secret.to_hex(), again.to_hex());
/// # Ok::<(), puncher::SecretError>(())
/// ```
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Secret([u8; KEY_BYTES]);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Why a secret could not be read. Returned by [`Secret::from_file`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SecretError {
    /// The key file could not be read.
    #[error("cannot read {path}: {why}")]
    Read {
        /// The file.
        path: String,
        /// What the system said.
        why: std::io::Error,
    },
    /// Others than its owner may read the key file, so it may be no secret.
    #[error("others may read {path}, its mode is {mode:03o}\n  help: make it private with: chmod 600 {path}")]
    Exposed {
        /// The file.
        path: String,
        /// Its permissions.
        mode: u32,
    },
    /// What was read is no secret.
    #[error("a key is 64 hexadecimal digits, this one is not")]
    Malformed,
}

impl Secret {
    /// A secret of these bytes.
    #[must_use]
    pub fn new(bytes: [u8; KEY_BYTES]) -> Self {
        Self(bytes)
    }

    /// A new secret from the system's random source.
    #[must_use]
    pub fn random() -> Self {
        Self(random_bytes())
    }

    /// The secret written as 64 hexadecimal digits, blanks around them ignored.
    ///
    /// # Errors
    /// When the text is anything else.
    pub fn from_hex(text: &str) -> Result<Self, SecretError> {
        let mut bytes = [0; KEY_BYTES];
        hex::decode_to_slice(text.trim(), &mut bytes).map_err(|_| SecretError::Malformed)?;
        Ok(Self(bytes))
    }

    /// The secret in a key file that nobody but its owner may read.
    ///
    /// # Errors
    /// When the file cannot be read, may be read by others, or holds no key.
    pub fn from_file(path: &Path) -> Result<Self, SecretError> {
        Self::from_hex(&read_private(path)?)
    }

    /// The secret as 64 hexadecimal digits, for writing a key file.
    #[must_use]
    pub fn to_hex(&self) -> Zeroizing<String> {
        Zeroizing::new(hex::encode(self.0))
    }

    /// A keyed hash of the parts for one purpose. Each part is preceded by its length, so that parts cannot flow into
    /// each other.
    pub(crate) fn mac(&self, purpose: &str, parts: &[&[u8]]) -> [u8; KEY_BYTES] {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        for part in std::iter::once(purpose.as_bytes()).chain(parts.iter().copied()) {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        *hasher.finalize().as_bytes()
    }
}

/// Reads a file that nobody but its owner may read, such as a key file or what was kept of an own ticket. Pipes and the like have no owner who could share them.
///
/// # Errors
/// When it cannot be read, or others may read it.
pub fn read_private(path: &Path) -> Result<Zeroizing<String>, SecretError> {
    let named = || path.display().to_string();
    let unread = |why| SecretError::Read { path: named(), why };
    let mut file = File::open(path).map_err(unread)?;
    let metadata = file.metadata().map_err(unread)?;
    if let Some(mode) = Host::mode_that_others_read(&metadata).filter(|_| metadata.is_file()) {
        return Err(SecretError::Exposed { path: named(), mode });
    }
    let mut text = Zeroizing::new(String::new());
    file.read_to_string(&mut text).map_err(unread)?;
    Ok(text)
}

/// Writes a new file that nobody but its owner may read.
///
/// # Errors
/// When it exists, or cannot be written.
pub fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    let mut options = File::options();
    Host::make_private(options.write(true).create_new(true));
    options.open(path)?.write_all(text.as_bytes())
}

/// Bytes from the system's random source; never from a seed, because they guard something.
///
/// # Panics
/// When the system has none: nothing would be safe then.
pub(crate) fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the system has random bytes");
    bytes
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_key_file_that_others_may_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        std::fs::write(&path, "00".repeat(KEY_BYTES)).unwrap();
        for (mode, fits) in [(0o600, true), (0o400, true), (0o640, false), (0o604, false), (0o644, false)] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            match Secret::from_file(&path) {
                Ok(_) => assert!(fits, "{mode:o}"),
                Err(error) => {
                    assert!(!fits && error.to_string().contains(&format!("{mode:o}")), "{error}");
                }
            }
        }
    }

    #[test]
    fn keys_are_read_from_hexadecimal_digits_only() {
        let text = "00ff".repeat(16);
        assert_eq!(Secret::from_hex(&format!("{text}\n")).unwrap().to_hex().as_str(), text);
        for wrong in
            ["", "00", &text[1..], &text.replace('f', "g"), &text.replace("00", "é"), &"+f".repeat(32)]
        {
            assert!(Secret::from_hex(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn debug_does_not_show_the_secret() {
        assert_eq!(format!("{:?}", Secret::new([1; 32])), "Secret(..)");
    }
}
