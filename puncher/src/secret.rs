//! The secret that both peers share, and keyed hashes under it.

use std::fmt;
use std::path::Path;

use rand::Rng;

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
#[derive(Clone)]
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
    #[error("cannot read key file {path}: {source}")]
    Read {
        /// The file.
        path: String,
        /// What the system said.
        source: std::io::Error,
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

    /// The secret in a key file.
    ///
    /// # Errors
    /// When the file cannot be read or holds no key.
    pub fn from_file(path: &Path) -> Result<Self, SecretError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| SecretError::Read { path: path.display().to_string(), source })?;
        Self::from_hex(&text)
    }

    /// The secret as 64 hexadecimal digits, for writing a key file.
    #[must_use]
    pub fn to_hex(&self) -> String {
        hex::encode(self.0)
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

/// Bytes from the system's random source; never from a seed, because they guard something.
pub(crate) fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    rand::rng().fill_bytes(&mut bytes);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_from_hexadecimal_digits_only() {
        let text = "00ff".repeat(16);
        assert_eq!(Secret::from_hex(&format!("{text}\n")).unwrap().to_hex(), text);
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
