//! Differences between a run's configuration and its recipe.

use std::collections::BTreeSet;

use anyhow::Result;
use oscar_pretraining::{PretrainConfig, TASK_NAME};
use oscar_task::{AnyTask, FinetuneConfig};
use serde::Serialize;
use serde_json::{Map, Value as Json};

use crate::config::{self, Source};
use crate::run_dir::{Facts, flatten};
use crate::tasks::{OnTask, on_task};

/// A key, its value in the recipe, and in the run.
pub struct Difference {
    pub key: String,
    pub recipe: Option<Json>,
    pub run: Option<Json>,
}

/// Keys whose values differ from the recipe's; `None` if the recipe is not available.
pub fn differences(facts: &Facts, task: Option<&str>) -> Result<Option<Vec<Difference>>> {
    let (Some(recipe), Some(task)) = (&facts.recipe, task) else {
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
    Ok(published.map(|published| compared(&published, &facts.config)))
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
    let table: toml::Table = config::to_toml(config)?.parse()?;
    let mut keys = Map::new();
    flatten("", serde_json::to_value(table)?, &mut keys);
    Ok(keys)
}

fn compared(recipe: &Map<String, Json>, run: &Map<String, Json>) -> Vec<Difference> {
    let names: BTreeSet<&String> = recipe.keys().chain(run.keys()).collect();
    let names = names
        .into_iter()
        .filter(|key| recipe.get(*key) != run.get(*key));
    names
        .map(|key| Difference {
            key: key.clone(),
            recipe: recipe.get(key).cloned(),
            run: run.get(key).cloned(),
        })
        .collect()
}
