//! Rows of NLVR2 in every form, damaged ones, and how answers are judged.
//!
//! One executable, as every further one would compile models and backends again.

mod common;
mod encoding;
mod faults;
mod forms;
mod judging;
