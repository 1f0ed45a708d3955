//! Who meets whom: the role of a peer, the name of a meeting and the secret both peers share.
//!
//! The rendezvous server sees neither the name nor the secret, only a label derived from both, so that a stranger
//! cannot guess which meetings exist. What is derived from the secret for messages is in `sealed`, for streams in `handshake`.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::secret::Secret;

/// Which of the two peers this is, see [`Meeting`]. The two roles take the same steps, except where one of them has to decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// The peer that chooses between several streams.
    A,
    /// The peer that confirms the choice.
    B,
}

impl Role {
    /// The other peer's role.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    /// One byte that stands for the role in what is hashed.
    pub(crate) fn byte(self) -> u8 {
        match self {
            Self::A => b'a',
            Self::B => b'b',
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::A => "a",
            Self::B => "b",
        })
    }
}

impl std::str::FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "a" => Ok(Self::A),
            "b" => Ok(Self::B),
            other => Err(format!("unknown role \"{other}\", expected a or b")),
        }
    }
}

/// What two peers agreed upon beforehand, by whatever channel they have.
///
/// ```
/// use puncher::{Meeting, Role, Secret};
///
/// let meeting = Meeting { name: "some-name".into(), role: Role::A, secret: Secret::random() };
/// assert_eq!(meeting.role.other(), Role::B);
/// ```
#[derive(Debug, Clone)]
pub struct Meeting {
    /// A name that is used once: a second meeting needs a new one.
    pub name: String,
    /// Which of the two this peer is.
    pub role: Role,
    /// The secret both peers hold and nobody else.
    pub secret: Secret,
}

impl Meeting {
    /// The name under which the rendezvous server knows this meeting.
    #[must_use]
    pub fn label(&self) -> String {
        let hash = self.secret.mac("puncher 1 meeting label", &[self.name.as_bytes()]);
        hex::encode(&hash[..16])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn label_depends_on_name_and_secret_and_not_on_role() {
        let meeting =
            |name: &str, byte, role| Meeting { name: name.into(), role, secret: Secret::new([byte; 32]) };
        let label = meeting("x", 1, Role::A).label();
        assert_eq!(label, meeting("x", 1, Role::B).label());
        assert_ne!(label, meeting("y", 1, Role::A).label());
        assert_ne!(label, meeting("x", 2, Role::A).label());
        assert_eq!(label.len(), 32);
    }

    #[test]
    fn role_is_read_from_its_letter() {
        assert_eq!("a".parse(), Ok(Role::A));
        assert_eq!("b".parse(), Ok(Role::B));
        assert_eq!("c".parse::<Role>(), Err("unknown role \"c\", expected a or b".into()));
    }
}
