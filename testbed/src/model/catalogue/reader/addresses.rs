//! The keys `addresses` and `pooling`: how many external addresses a NAT has, and which of them a mapping gets.

use super::{RawProfile, Reader};
use crate::model::behavior::{ExternalAddresses, Pooling};

impl Reader<'_> {
    /// The external addresses of a profile. RFC 4787, REQ-2, recommends the pooling that is meant where none is written.
    pub(super) fn addresses(&mut self, raw: &RawProfile) -> Option<ExternalAddresses> {
        let count = raw.addresses.as_ref().map_or(1, |written| *written.get_ref());
        let pooling = self.word(&raw.pooling, "pooling", Pooling::Paired)?;
        match &raw.pooling {
            Some(written) if count == 1 => {
                let message = format!("pooling \"{pooling}\" means nothing where there is one address");
                self.checker.report_with_help(written.span(), message, "say how many: addresses = 2");
                None
            }
            Some(_) | None => Some(ExternalAddresses { count, pooling }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::catalogue::Catalogue;

    fn read(body: &str) -> Result<ExternalAddresses, String> {
        let text = format!("[nat.x]\nsummary = \"a test\"\n{body}\n");
        let catalogue = Catalogue::parse(&text, "nats.toml").map_err(|problems| problems.to_string())?;
        Ok(catalogue.get("x").expect("it is there").behavior.addresses)
    }

    #[test]
    fn a_nat_has_one_address_unless_more_are_written() {
        let pool = |count, pooling| Ok(ExternalAddresses { count, pooling });
        assert_eq!(read(""), Ok(ExternalAddresses::ONE));
        assert_eq!(read("addresses = 1"), Ok(ExternalAddresses::ONE));
        assert_eq!(read("addresses = 3"), pool(3, Pooling::Paired));
        assert_eq!(read("addresses = 8\npooling = \"arbitrary\""), pool(8, Pooling::Arbitrary));
    }

    #[test]
    fn what_cannot_be_is_refused_with_its_reason() {
        for (body, expected) in [
            ("addresses = 0", "a NAT has from 1 to 8 external addresses"),
            ("addresses = 9", "a NAT has from 1 to 8 external addresses"),
            ("pooling = \"arbitrary\"", "means nothing where there is one address"),
            ("addresses = 2\npooling = \"pared\"", "did you mean \"paired\"?"),
            ("addresses = 2\nports = \"2000-2999\"\nblock-size = 100", "which block of which address"),
            ("addresses = 2\ntranslation = \"firewall\"", "a firewall translates nothing"),
        ] {
            let refused = read(body).expect_err(body);
            assert!(refused.contains(expected), "{body}: {refused}");
        }
    }
}
