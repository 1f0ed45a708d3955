//! The keys `addresses` and `pooling`: how many external addresses a NAT has, and which of them a mapping gets.

use super::{RawProfile, Reader};
use crate::model::behavior::{ExternalAddresses, Pooling, Translation};
use crate::model::feasibility::MOST_ADDRESSES;

impl Reader<'_> {
    /// The external addresses of a profile. RFC 4787, REQ-2, recommends the pooling that is meant where none is written.
    pub(super) fn addresses(
        &mut self,
        raw: &RawProfile,
        translation: Translation,
    ) -> Option<ExternalAddresses> {
        let count = self.count(raw);
        let pooling = self.word(&raw.pooling, "pooling", Pooling::Paired)?;
        let count = count?;
        match &raw.pooling {
            Some(written) if count == 1 && pooling == Pooling::Arbitrary => {
                let (why, help) = match translation {
                    Translation::Nat => ("where there is one address", "say how many: addresses = 2"),
                    Translation::Firewall | Translation::Router => {
                        ("where no address is translated", "leave pooling out")
                    }
                };
                let message = format!("pooling \"{pooling}\" means nothing {why}");
                self.checker.report_with_help(written.span(), message, help);
                None
            }
            Some(_) | None => Some(ExternalAddresses { count, pooling }),
        }
    }

    /// How many there are.
    fn count(&mut self, raw: &RawProfile) -> Option<u8> {
        let Some(written) = &raw.addresses else { return Some(1) };
        let number = written.get_ref();
        let count = u8::try_from(*number).ok().filter(|count| (1..=MOST_ADDRESSES).contains(count));
        if count.is_none() {
            let message = format!("a NAT has from 1 to {MOST_ADDRESSES} external addresses, not {number}");
            self.checker.report(written.span(), message);
        }
        count
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
        // What is the default may be written.
        assert_eq!(read("pooling = \"paired\""), Ok(ExternalAddresses::ONE));
        assert_eq!(read("translation = \"firewall\"\npooling = \"paired\""), Ok(ExternalAddresses::ONE));
        assert_eq!(read("addresses = 3"), pool(3, Pooling::Paired));
        assert_eq!(read("addresses = 8\npooling = \"arbitrary\""), pool(8, Pooling::Arbitrary));
    }

    #[test]
    fn what_cannot_be_is_refused_with_its_reason() {
        for (body, expected) in [
            ("addresses = 0", "nats.toml:3: a NAT has from 1 to 8 external addresses, not 0"),
            ("addresses = 9", "nats.toml:3: a NAT has from 1 to 8 external addresses, not 9"),
            ("addresses = -1", "nats.toml:3: a NAT has from 1 to 8 external addresses, not -1"),
            ("addresses = 999", "nats.toml:3: a NAT has from 1 to 8 external addresses, not 999"),
            (
                "addresses = 99999999999999999999",
                "nats.toml:3: expected a whole number from -9223372036854775808 to 9223372036854775807, found the number 99999999999999999999",
            ),
            ("addresses = \"two\"", "nats.toml:3: expected a whole number, found the string \"two\""),
            ("pooling = \"arbitrary\"", "means nothing where there is one address\n  help: say how many"),
            ("addresses = 2\npooling = \"pared\"", "did you mean \"paired\"?"),
            ("addresses = 2\nports = \"2000-2999\"\nblock-size = 100", "which block of which address"),
            (
                "addresses = 2\ntranslation = \"firewall\"",
                "nats.toml:3: NAT \"x\": addresses 2 with translation firewall cannot be: a firewall translates nothing",
            ),
            (
                "translation = \"router\"\npooling = \"arbitrary\"",
                "nats.toml:4: pooling \"arbitrary\" means nothing where no address is translated\n  help: leave pooling out",
            ),
        ] {
            let refused = read(body).expect_err(body);
            assert!(refused.contains(expected), "{body}: {refused}");
        }
    }
}
