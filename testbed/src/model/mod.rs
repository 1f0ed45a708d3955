//! Plain data and pure checks: what a NAT does, how a lab is wired, what a suite asks for, what a run can tell.
//!
//! Nothing here opens a file, starts a process or looks at a clock. The layers above bring these values to life.

pub mod address_plan;
pub mod address_pool;
pub mod addresses;
pub mod axis;
pub mod axis_value;
pub mod behavior;
pub mod catalogue;
pub mod cause;
pub mod conditions;
pub mod datapath;
pub mod description;
pub mod doubt;
pub mod embedded;
pub mod event;
pub mod evidence;
pub mod expectation;
pub mod feasibility;
pub mod kernel_rules;
pub mod nat_class;
pub mod outcome;
pub mod packet;
pub mod plain_words;
pub mod plural;
pub mod port_set;
pub mod prediction;
pub mod problem;
pub mod program;
pub mod quantity;
pub mod shard;
pub mod statistics;
pub mod suggestion;
pub mod suite;
pub mod suite_file;
pub mod template;
pub mod theory;
pub mod topology;
pub mod topology_builder;
pub mod topology_file;
pub mod trial_load;
pub mod words;
