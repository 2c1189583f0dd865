//! METEOR and SPICE by their official jars, for those who have them and Java.
//!
//! Both are run as the COCO caption evaluation runs them. They are never approximated: without a
//! jar there is no score of that name.

mod java;
mod meteor;
mod spice;

use std::ffi::OsString;
use std::time::Duration;

pub use meteor::meteor;
pub use spice::spice;

/// How jars are run.
#[derive(Clone, Debug)]
pub struct JarOptions {
    /// The command that runs Java.
    pub java: OsString,
    /// How long to wait: for METEOR's next answer, for all of SPICE. Then the process is killed.
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
