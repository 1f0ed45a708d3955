//! Events in, text out: one format per file.
//!
//! [`collect`] turns the events of a run into [`results::Results`], which is what `results.json` holds; every other
//! format is made from that, so that an old run can be shown in a new format. [`folder`] writes the run's folder while
//! the run goes on, [`progress`] shows on standard error how far it is. Nothing here runs anything.

pub mod artefacts;
pub mod baseline;
pub mod charset;
pub mod collect;
pub mod compare;
mod convert;
pub mod csv;
pub mod deviation;
pub mod escape;
pub mod exit_status;
pub mod expect;
pub mod folder;
pub mod format;
pub mod github;
pub mod html;
pub mod junit;
pub mod kept;
mod kept_trials;
pub mod kernels;
pub mod ktap;
pub mod ladder;
pub(crate) mod lines;
pub mod losses;
pub mod machine;
pub mod markdown;
pub mod merge;
pub mod origin;
pub mod pcapng;
pub mod plan;
pub mod progress;
pub mod recorder;
mod remaining;
pub mod results;
pub mod sensitivity;
pub mod stderr_tail;
pub mod svg;
pub mod table;
pub mod terminal;
pub mod totals;
mod tracker;
pub mod trial_docs;
pub mod view;
pub mod void;

#[cfg(test)]
mod power;
#[cfg(test)]
pub(crate) mod sample;
#[cfg(test)]
mod schema;
#[cfg(test)]
mod tests;
