//! `oscar-bin recipes`: list the built-in recipes, print one, or describe the keys of recipes.

use std::io::Write;

use anyhow::{Result, bail};
use clap::Args;
use clap::builder::PossibleValuesParser;
use oscar_pretraining::PretrainConfig;
use oscar_task::FinetuneConfig;
use serde_json::{Value as Json, json};

use crate::config::{Key, RECIPES, Recipe, keys, schema};
use crate::ending::Ending;
use crate::output::{self, print_json, print_table};
use crate::tasks::{AnyTask, NAMES, OnTask, on_task};

#[derive(Debug, Args)]
pub struct RecipesArgs {
    /// Recipe to print [default: list all]
    pub name: Option<String>,
    /// Describe every key that such a recipe may set, instead of the recipe; without a name, the keys
    /// of pre-training
    #[arg(long)]
    pub keys: bool,
    /// Task whose keys are described
    #[arg(long, requires = "keys", conflicts_with = "name", value_parser = PossibleValuesParser::new(NAMES))]
    pub task: Option<String>,
    /// Print the list, or the recipe, as one JSON document on standard output; of keys, their JSON
    /// Schema
    #[arg(long)]
    pub json: bool,
}

/// Lists the recipes, or prints one.
///
/// # Errors
/// If there is no recipe of this name.
pub fn run(args: &RecipesArgs) -> Result<Ending> {
    if args.keys {
        return describe_keys(args);
    }
    match (&args.name, args.json) {
        (None, true) => {
            let recipes: Vec<Json> = RECIPES.iter().map(described).collect();
            print_json(&json!({ "recipes": recipes }))?;
        }
        (None, false) => {
            let row = |recipe: &Recipe| vec![recipe.name.into(), recipe.summary().into()];
            let rows: Vec<Vec<String>> = RECIPES.iter().map(row).collect();
            print_table(&mut output::stdout(), &rows)?;
        }
        (Some(name), as_json) => {
            let recipe = find(name)?;
            match as_json {
                true => {
                    let mut document = described(recipe);
                    document["recipe"] = json!(recipe.toml.parse::<toml::Table>()?);
                    print_json(&document)?;
                }
                false => write!(output::stdout(), "{}", recipe.toml)?,
            }
        }
    }
    Ok(Ending::Done)
}

/// Prints the keys of the recipes of a task, or of pre-training.
fn describe_keys(args: &RecipesArgs) -> Result<Ending> {
    let of_recipe = match &args.name {
        Some(name) => find(name)?.task(),
        None => None,
    };
    let task = args.task.as_deref().or(of_recipe);
    let (keys, schema) = match task {
        Some(task) => on_task(task, Described)?,
        None => (keys::<PretrainConfig>(), schema::<PretrainConfig>()),
    };
    if args.json {
        print_json(&schema)?;
        return Ok(Ending::Done);
    }
    let mut rows = vec![["key", "takes", "default", ""].map(String::from).to_vec()];
    rows.extend(
        keys.into_iter()
            .map(|key| vec![key.name, key.kind, key.default, key.description]),
    );
    print_table(&mut output::stdout(), &rows)?;
    Ok(Ending::Done)
}

/// The keys of a task's recipes, and their schema.
struct Described;

impl OnTask for Described {
    type Output = (Vec<Key>, Json);

    fn run<T: AnyTask>(self) -> Result<Self::Output> {
        Ok((keys::<FinetuneConfig<T>>(), schema::<FinetuneConfig<T>>()))
    }
}

fn described(recipe: &Recipe) -> Json {
    json!({ "name": recipe.name, "command": recipe.command, "summary": recipe.summary() })
}

/// The recipe called `name`.
fn find(name: &str) -> Result<&'static Recipe> {
    if let Some(recipe) = Recipe::find(name) {
        return Ok(recipe);
    }
    let alike = Recipe::alike(name).join(", ");
    match alike.is_empty() {
        true => bail!("unknown recipe {name:?}; `oscar-bin recipes` lists all"),
        false => {
            bail!("unknown recipe {name:?}; did you mean {alike}? `oscar-bin recipes` lists all")
        }
    }
}
