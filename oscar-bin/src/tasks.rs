//! The fine-tuning tasks: the one place that lists them all.

use std::marker::PhantomData;
use std::path::Path;

use anyhow::{Context, Result, bail};
use oscar_core::ops::{OscarBackend, TrainBackend};
use oscar_pretraining::TASK_NAME;
use oscar_task::{Explain, Learn, Opener, Predictor, Score, Task, TaskError};

use crate::args::DeviceArgs;
use crate::backend::{OnBackend, dispatch};
use crate::config::similar;

/// A task that can be trained, scored and asked.
pub trait AnyTask: Learn + Score + Explain {}

impl<T: Learn + Score + Explain> AnyTask for T {}

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

/// A computation for a task and on a backend that are both chosen at run time.
pub trait OnTaskAndBackend {
    /// Its result.
    type Output;

    /// Computes on `device`.
    ///
    /// # Errors
    /// Whatever makes it fail.
    fn run<T: AnyTask, B: TrainBackend>(self, device: B::Device) -> Result<Self::Output>;
}

/// Runs `computation` for the task called `name` on the backend of `device`.
///
/// # Errors
/// If there is no such task or device, or the computation fails.
pub fn dispatch_task<C: OnTaskAndBackend>(
    name: &str,
    device: &DeviceArgs,
    computation: C,
) -> Result<C::Output> {
    on_task(name, OnDevice(device, computation))
}

/// The task of the weights in `directory`, as its `task.json` says.
///
/// # Errors
/// If there is no such file, or it names no task.
pub fn task_of_weights(directory: &Path) -> Result<String> {
    let file = directory.join("task.json");
    let text = std::fs::read_to_string(&file).with_context(|| {
        format!(
            "cannot read the task of the weights from {}",
            file.display()
        )
    })?;
    let document: serde_json::Value =
        serde_json::from_str(&text).with_context(|| format!("{} is not JSON", file.display()))?;
    match document["task"].as_str() {
        Some(task) if task == TASK_NAME || NAMES.contains(&task) => Ok(task.into()),
        Some(task) => bail!(
            "{}: `task` is {task:?}, which is unknown here; known: {}",
            file.display(),
            NAMES.join(", ")
        ),
        None => bail!("{} has no key `task`", file.display()),
    }
}

struct OnDevice<'a, C>(&'a DeviceArgs, C);

impl<C: OnTaskAndBackend> OnTask for OnDevice<'_, C> {
    type Output = C::Output;

    fn run<T: AnyTask>(self) -> Result<C::Output> {
        dispatch(self.0, OfTask::<T, C>(self.1, PhantomData))
    }
}

struct OfTask<T, C>(C, PhantomData<T>);

impl<T: AnyTask, C: OnTaskAndBackend> OnBackend for OfTask<T, C> {
    type Output = C::Output;

    fn run<B: TrainBackend>(self, device: B::Device) -> Result<C::Output> {
        self.0.run::<T, B>(device)
    }
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
            let hint = similar(name, NAMES.iter().copied())
                .map_or(".".into(), |task| format!("; did you mean {task}?"));
            bail!("unknown task {name:?}{hint} Known tasks: {}", NAMES.join(", "))
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
    oscar_clipcap::Captioning,
    oscar_gqa::Gqa,
    oscar_matching::Matching,
    oscar_nlvr2::Nlvr2,
    oscar_refer::Refer,
    oscar_retrieval::Retrieval,
    oscar_search::Search,
    oscar_vqa::Vqa,
}
