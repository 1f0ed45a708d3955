//! Enums whose values have names: one list gives an enum its names, its list of values, and the way back from a name.

/// Text that is none of the names an enum has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownWord {
    /// The names that would do.
    pub known: Vec<&'static str>,
}

/// Gives an enum `ALL`, `WORDS`, `name`, `Display` and `FromStr`.
///
/// `name` is a `match` over the same list, so that a value that the list leaves out does not compile.
macro_rules! words {
    ($type:ident { $($value:ident $(($inner:path))? => $word:literal),+ $(,)? }) => {
        impl $type {
            /// All values, in the order in which tables show them.
            pub const ALL: &'static [Self] = &[$(Self::$value $(($inner))?),+];
            /// The names of all values, in the same order.
            pub const WORDS: &'static [&'static str] = &[$($word),+];

            /// The name in files, tables and messages.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$value $(($inner))? => $word),+
                }
            }
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.name())
            }
        }

        impl std::str::FromStr for $type {
            type Err = $crate::model::words::UnknownWord;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let found = Self::ALL.iter().copied().find(|value| value.name() == text);
                found.ok_or_else(|| Self::Err { known: Self::WORDS.to_vec() })
            }
        }
    };
}

pub(crate) use words;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fmt::{Debug, Display};
    use std::str::FromStr;

    use crate::model::axis::NatAxis;
    use crate::model::axis_value::{Order, Trouble};
    use crate::model::behavior::{
        Filtering, Hairpinning, InvalidPackets, Mapping, Overloading, Pooling, Strictness, SynAfterSyn,
        Translation, UnsolicitedSyn,
    };
    use crate::model::cause::Cause;
    use crate::model::doubt::Doubt;
    use crate::model::theory::Method;

    fn read_back<T>(all: &[T], words: &[&str])
    where
        T: Copy + Debug + Display + FromStr<Err: Debug> + PartialEq,
    {
        let different: BTreeSet<_> = words.iter().collect();
        assert_eq!((all.len(), different.len()), (words.len(), words.len()), "{words:?}");
        for (value, word) in all.iter().zip(words) {
            assert_eq!(value.to_string(), *word);
            assert_eq!(word.parse::<T>().expect("a name"), *value);
        }
        "nothing of that kind".parse::<T>().expect_err("no name");
    }

    #[test]
    fn every_name_reads_back_as_its_value() {
        read_back(NatAxis::ALL, NatAxis::WORDS);
        read_back(Translation::ALL, Translation::WORDS);
        read_back(Mapping::ALL, Mapping::WORDS);
        read_back(Pooling::ALL, Pooling::WORDS);
        read_back(Filtering::ALL, Filtering::WORDS);
        read_back(UnsolicitedSyn::ALL, UnsolicitedSyn::WORDS);
        read_back(SynAfterSyn::ALL, SynAfterSyn::WORDS);
        read_back(InvalidPackets::ALL, InvalidPackets::WORDS);
        read_back(Hairpinning::ALL, Hairpinning::WORDS);
        read_back(Overloading::ALL, Overloading::WORDS);
        read_back(Strictness::ALL, Strictness::WORDS);
        read_back(Order::ALL, Order::WORDS);
        read_back(Trouble::ALL, Trouble::WORDS);
        read_back(Method::ALL, Method::WORDS);
        read_back(Cause::ALL, Cause::WORDS);
        read_back(Doubt::ALL, Doubt::WORDS);
    }
}
