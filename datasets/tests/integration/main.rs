//! Readers: annotations, corpora, stores, and what becomes of damaged files.
//!
//! One executable, as every further one would compile models and backends again.

mod annotations;
mod answers;
mod check;
mod common;
mod corpus;
mod draw;
mod import_damage;
mod import_faults;
mod import_formats;
mod import_official;
mod import_pt;
mod import_real;
mod import_support;
mod import_tables;
mod official_corpus;
mod official_support;
mod public_forms;
mod questions;
mod store;
mod store_faults;
mod two_keys;
