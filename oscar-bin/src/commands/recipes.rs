//! `oscar-bin recipes`: list the built-in recipes, or print one.

use std::io::Write;

use anyhow::{Result, bail};
use clap::Args;

use crate::config::{RECIPES, Recipe};
use crate::ending::Ending;

#[derive(Debug, Args)]
pub struct RecipesArgs {
    /// Recipe to print [default: list all]
    pub name: Option<String>,
}

/// Lists the recipes, or prints one.
///
/// # Errors
/// If there is no recipe of this name.
pub fn run(args: &RecipesArgs) -> Result<Ending> {
    let mut out = std::io::stdout().lock();
    match &args.name {
        None => {
            for recipe in RECIPES.iter() {
                writeln!(out, "{:<24} {}", recipe.name, recipe.summary())?;
            }
        }
        Some(name) => match Recipe::find(name) {
            Some(recipe) => write!(out, "{}", recipe.toml)?,
            None => bail!("unknown recipe {name:?}; `oscar-bin recipes` lists them"),
        },
    }
    Ok(Ending::Done)
}
