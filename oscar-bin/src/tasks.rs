//! The fine-tuning tasks: the one place that lists them all.

use std::path::Path;

use anyhow::{Result, bail};
use oscar_core::ops::OscarBackend;
use oscar_task::{Explain, Learn, Opener, Oscar, Predictor, Score, Task, TaskError};

use crate::config::nearest;

/// A task that can be trained, scored and asked.
pub trait AnyTask: Learn + Score + Explain + Task<Family = Oscar> {}

impl<T: Learn + Score + Explain + Task<Family = Oscar>> AnyTask for T {}

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
        pub const NAMES: &[&str] = &[$(<$task as Task>::NAME),*];

        /// Runs `action` for the task called `name`.
        ///
        /// # Errors
        /// If there is no such task, or the action fails.
        pub fn on_task<A: OnTask>(name: &str, action: A) -> Result<A::Output> {
            $(if name == <$task as Task>::NAME {
                return action.run::<$task>();
            })*
            let hint = nearest(name, NAMES.iter().copied()).unwrap_or_default();
            bail!("unknown task {name:?}; did you mean {hint}? Known tasks: {}", NAMES.join(", "))
        }

        /// Opens fine-tuned weights, of whichever task they are: the `best` or `last` directory of a
        /// run.
        ///
        /// # Errors
        ///
        /// If a file is missing or wrong.
        pub fn open_predictor<B: OscarBackend>(
            path: &Path,
            device: &B::Device,
        ) -> Result<Box<dyn Predictor>, TaskError> {
            oscar_task::open_predictor(path, device, &[$(Opener::<B>::of::<$task>()),*])
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
