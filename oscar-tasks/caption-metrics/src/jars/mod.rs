//! METEOR and SPICE by their official jars, which need Java.
//!
//! Both are run as in the COCO caption evaluation. They are never approximated: without its jar a
//! score is missing.

mod java;
mod meteor;
mod spice;

use std::ffi::OsString;
use std::time::Duration;

pub use meteor::meteor;
pub use spice::spice;

/// Options for running the jars.
#[derive(Clone, Debug)]
pub struct JarOptions {
    /// The command that runs Java.
    pub java: OsString,
    /// Time limit for each answer of METEOR and for all of SPICE, after which the process is killed.
    pub patience: Duration,
}

impl Default for JarOptions {
    fn default() -> Self {
        Self {
            java: "java".into(),
            patience: Duration::from_secs(30 * 60),
        }
    }
}
