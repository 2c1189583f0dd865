//! Differences between a run's configuration and its recipe.

use anyhow::Result;
use oscar_pretraining::{PretrainConfig, TASK_NAME};
use oscar_task::FinetuneConfig;
use serde::Serialize;
use serde_json::{Map, Value as Json};

use crate::config::{self, Source};
use crate::run_dir::{Summary, differing_keys, flat};
use crate::tasks::{AnyTask, OnTask, on_task};

/// A key, its value in the recipe, and in the run.
pub struct Difference {
    pub key: String,
    pub recipe: Option<Json>,
    pub run: Option<Json>,
}

/// Keys whose values differ from the recipe's; `None` if the recipe is not available.
pub fn differences(run: &Summary, task: Option<&str>) -> Result<Option<Vec<Difference>>> {
    let (Some(recipe), Some(task)) = (&run.recipe, task) else {
        return Ok(None);
    };
    // A recipe in a file may have changed, or moved.
    let Ok(source) = Source::open(recipe) else {
        return Ok(None);
    };
    let published = match task {
        TASK_NAME => Some(keys(&config::resolve::<PretrainConfig>(&source, &[])?)?),
        task => on_task(task, Published { source: &source })?,
    };
    Ok(published.map(|published| compared(&published, &run.config)))
}

struct Published<'a> {
    source: &'a Source,
}

impl OnTask for Published<'_> {
    type Output = Option<Map<String, Json>>;

    fn run<T: AnyTask>(self) -> Result<Self::Output> {
        let recipe = config::resolve::<FinetuneConfig<T>>(self.source, &[])?;
        keys(&recipe).map(Some)
    }
}

/// The configuration by dotted keys, as a run's file has it.
fn keys(config: &impl Serialize) -> Result<Map<String, Json>> {
    flat(&config::to_toml(config)?.parse()?)
}

fn compared(recipe: &Map<String, Json>, run: &Map<String, Json>) -> Vec<Difference> {
    let keys = differing_keys(&[recipe, run]).into_iter();
    keys.map(|key| Difference {
        key: key.clone(),
        recipe: recipe.get(key).cloned(),
        run: run.get(key).cloned(),
    })
    .collect()
}
