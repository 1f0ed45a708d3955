//! Evidence in, outcome and verdict out. Pure: nothing here touches the machine, and every input is plain data.
//!
//! [`timeline`] puts the packets of a trial in order, [`oracle`] says what the NATs had to do with them,
//! `host` says what the
//! hosts had to answer, [`program_output`] reads what the programs claimed, `claim_check` compares that with the packets, [`judgement`] draws the
//! conclusion for one trial, with `cause` as its reason, [`split`] does so for a side behind a NAT of sockets, and [`verdict`] holds the trials of a cell against theory.

pub mod betting;
pub mod case;
mod cause;
mod claim_check;
mod host;
pub mod judgement;
mod last_words;
pub mod oracle;
pub mod program_output;
pub mod reference;
pub mod split;
#[cfg(test)]
pub(crate) mod staged;
pub mod timeline;
pub mod verdict;
