//! `oscar-bin recipes`: list the built-in recipes, or print one.

use std::io::Write;

use anyhow::{Result, bail};
use clap::Args;
use serde_json::{Value as Json, json};

use crate::config::{RECIPES, Recipe, nearest};
use crate::ending::Ending;
use crate::output::{self, print_json, print_table};

#[derive(Debug, Args)]
pub struct RecipesArgs {
    /// Recipe to print [default: list all]
    pub name: Option<String>,
    /// Print the list, or the recipe, as one JSON document on standard output
    #[arg(long)]
    pub json: bool,
}

/// Lists the recipes, or prints one.
///
/// # Errors
/// If there is no recipe of this name.
pub fn run(args: &RecipesArgs) -> Result<Ending> {
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

fn described(recipe: &Recipe) -> Json {
    json!({ "name": recipe.name, "command": recipe.command, "summary": recipe.summary() })
}

/// The recipe called `name`.
fn find(name: &str) -> Result<&'static Recipe> {
    if let Some(recipe) = Recipe::find(name) {
        return Ok(recipe);
    }
    let names = || RECIPES.iter().map(|recipe| recipe.name);
    let mut alike: Vec<&str> = names().filter(|known| known.contains(name)).collect();
    if alike.is_empty() {
        alike.extend(nearest(name, names()));
    }
    bail!(
        "unknown recipe {name:?}; did you mean {}? `oscar-bin recipes` lists all",
        alike.join(", ")
    )
}
