//! The program from the outside: one file per command or promise.
//!
//! One executable, as every further one would compile models and backends again.

mod backends;
mod bench;
mod captioning;
mod check;
mod corpora;
mod crash;
mod data;
mod events;
mod faults;
mod finetune;
mod gradient_checkpointing;
mod handmade;
mod help;
#[cfg(feature = "hub")]
#[path = "../../../oscar-files/tests/integration/hub_server/mod.rs"]
mod hub_server;
mod import;
mod init;
#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod injected;
mod inspect;
mod miniatures;
mod model;
mod mpi;
mod names;
mod nlvr2;
mod non_finite;
mod objectives;
#[path = "../../../datasets/tests/integration/official_support/mod.rs"]
mod official_support;
mod old_version;
mod output;
mod pictures;
mod probe;
mod published;
#[cfg(feature = "hub")]
mod pulled;
mod quickstart;
mod recipes;
mod report;
mod resume;
mod retrieval;
mod runs;
mod scene_tasks;
mod score;
mod search;
mod serve;
mod settings;
mod shell;
mod support;
mod terminal;
mod usage;
mod vqa;
