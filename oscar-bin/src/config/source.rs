//! A recipe by name, or a configuration file.

use std::path::Path;

use anyhow::{Context, Result, bail};

use super::builtin::{RECIPES, Recipe};
use super::keys::nearest;

/// A recipe and where it comes from.
pub struct Source {
    /// For messages and for the name of the run.
    pub name: String,
    pub(super) origin: String,
    pub(super) toml: String,
}

impl Source {
    /// A built-in recipe, or a TOML file.
    pub fn open(config: &str) -> Result<Self> {
        if let Some(recipe) = Recipe::find(config) {
            return Ok(Self {
                name: recipe.name.into(),
                origin: format!("the recipe {config}"),
                toml: recipe.toml.into(),
            });
        }
        let path = Path::new(config);
        if path.extension().is_none() && !path.exists() {
            let names = RECIPES.iter().map(|recipe| recipe.name);
            let hint = nearest(config, names)
                .map_or(String::new(), |name| format!(" Did you mean {name}?"));
            bail!(
                "{config:?} is neither a built-in recipe (`oscar-bin recipes` lists them) \
                 nor a file.{hint}"
            );
        }
        Self::file(path)
    }

    /// A text that stands in no file.
    #[cfg(test)]
    pub fn of_text(toml: &str) -> Self {
        let name = String::from("text");
        Self {
            origin: name.clone(),
            toml: toml.into(),
            name,
        }
    }

    /// A TOML file.
    pub fn file(path: &Path) -> Result<Self> {
        let toml = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read the configuration {}", path.display()))?;
        let name = path
            .file_stem()
            .map_or("run".into(), |stem| stem.to_string_lossy().into());
        Ok(Self {
            name,
            origin: path.display().to_string(),
            toml,
        })
    }
}
