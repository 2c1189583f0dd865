//! The fine-tuning tasks: the one place that lists them all.

use anyhow::{Result, bail};
use oscar_task::AnyTask;

use crate::config::nearest;

/// Something to do for a task that is chosen at run time.
pub trait OnTask {
    /// Its result.
    type Output;

    /// Does it.
    ///
    /// # Errors
    /// Whatever makes it fail.
    fn run<T: AnyTask>(self) -> Result<Self::Output>;
}

macro_rules! tasks {
    ($($task:ty),* $(,)?) => {
        /// Names for `--task`.
        pub const NAMES: &[&str] = &[$(<$task as AnyTask>::NAME),*];

        /// Runs `action` for the task called `name`.
        ///
        /// # Errors
        /// If there is no such task, or the action fails.
        pub fn on_task<A: OnTask>(name: &str, action: A) -> Result<A::Output> {
            $(if name == <$task as AnyTask>::NAME {
                return action.run::<$task>();
            })*
            let hint = nearest(name, NAMES.iter().copied()).unwrap_or_default();
            bail!("unknown task {name:?}; did you mean {hint}? Known tasks: {}", NAMES.join(", "))
        }
    };
}

// Adding a task is one line here.
tasks! {
    oscar_captioning::Captioning,
    oscar_gqa::Gqa,
    oscar_matching::Matching,
    oscar_nlvr2::Nlvr2,
    oscar_retrieval::Retrieval,
    oscar_vqa::Vqa,
}
