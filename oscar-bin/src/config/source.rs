//! A recipe with all that it extends: built-in ones by name, others from TOML files.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use figment::providers::Serialized;
use figment::value::{Dict, Map};
use figment::{Metadata, Profile, Provider};

use super::builtin::{RECIPES, Recipe};
use super::keys::nearest;

/// The key by which a recipe names the one whose values it starts from.
const EXTENDS: &str = "extends";

/// A recipe and what it extends.
pub struct Source {
    /// For messages and for the name of the run.
    pub name: String,
    /// Values of the later ones replace those of the earlier: the recipe itself is the last.
    pub(super) layers: Vec<Layer>,
}

/// What one file says.
pub(super) struct Layer {
    /// For messages.
    pub origin: String,
    pub table: toml::Table,
}

/// Where a recipe is.
enum Place {
    BuiltIn(&'static Recipe),
    File(PathBuf),
}

impl Source {
    /// A built-in recipe, or a TOML file.
    ///
    /// # Errors
    /// If there is neither, or it or what it extends cannot be read.
    pub fn open(config: &str) -> Result<Self> {
        Self::read(Place::find(config, Path::new(""))?)
    }

    /// A TOML file.
    ///
    /// # Errors
    /// If it or what it extends cannot be read.
    pub fn file(path: &Path) -> Result<Self> {
        Self::read(Place::File(path.into()))
    }

    /// A text that is in no file.
    #[cfg(test)]
    pub fn of_text(toml: &str) -> Result<Self> {
        let (layer, _) = Layer::parse("text".into(), toml)?;
        Ok(Self {
            name: "text".into(),
            layers: vec![layer],
        })
    }

    /// What the recipe itself is called in messages.
    pub(super) fn origin(&self) -> &str {
        self.layers.last().map_or("", |layer| &layer.origin)
    }

    fn read(place: Place) -> Result<Self> {
        let name = place.name();
        let (mut layers, mut visited) = (Vec::new(), Vec::new());
        let mut next = Some(place);
        while let Some(place) = next.take() {
            let (layer, extends) = Layer::parse(place.origin(), &place.text()?)?;
            let identity = place.identity();
            let again = visited.contains(&identity);
            visited.push(identity);
            layers.push(layer);
            if again {
                let chain: Vec<&str> = layers.iter().map(|layer| &*layer.origin).collect();
                bail!("recipes extend each other: {}", chain.join(" extends "));
            }
            if let Some(base) = extends {
                let found = Place::find(&base, &place.directory());
                next = Some(found.with_context(|| format!("{}: {EXTENDS}", place.origin()))?);
            }
        }
        layers.reverse();
        Ok(Self { name, layers })
    }
}

impl Layer {
    /// The values of a recipe, and the name of the recipe that it extends.
    fn parse(origin: String, toml: &str) -> Result<(Self, Option<String>)> {
        let mut table: toml::Table = toml
            .parse()
            .map_err(|error| anyhow!("{origin} is not valid TOML: {error}"))?;
        let extends = match table.remove(EXTENDS) {
            None => None,
            Some(toml::Value::String(name)) => Some(name),
            Some(other) => bail!(
                "{origin}: {EXTENDS} = {other}: must be the name of a built-in recipe or the path \
                 of a TOML file"
            ),
        };
        Ok((Self { origin, table }, extends))
    }
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.origin.clone())
    }

    fn data(&self) -> figment::Result<Map<Profile, Dict>> {
        Serialized::defaults(&self.table).data()
    }
}

impl Place {
    /// The recipe called `name`, else the file `name` in `directory`.
    fn find(name: &str, directory: &Path) -> Result<Self> {
        if let Some(recipe) = Recipe::find(name) {
            return Ok(Self::BuiltIn(recipe));
        }
        let path = directory.join(name);
        if path.extension().is_none() && !path.exists() {
            let hint = nearest(name, RECIPES.iter().map(|recipe| recipe.name))
                .map_or(String::new(), |name| format!(" Did you mean {name}?"));
            bail!(
                "{name:?} is neither a built-in recipe (`oscar-bin recipes` lists them) nor a \
                 file.{hint}"
            );
        }
        Ok(Self::File(path))
    }

    fn name(&self) -> String {
        match self {
            Self::BuiltIn(recipe) => recipe.name.into(),
            Self::File(path) => path
                .file_stem()
                .map_or("run".into(), |stem| stem.to_string_lossy().into()),
        }
    }

    fn origin(&self) -> String {
        match self {
            Self::BuiltIn(recipe) => format!("the recipe {}", recipe.name),
            Self::File(path) => path.display().to_string(),
        }
    }

    fn text(&self) -> Result<String> {
        match self {
            Self::BuiltIn(recipe) => Ok(recipe.toml.into()),
            Self::File(path) => std::fs::read_to_string(path)
                .with_context(|| format!("cannot read the configuration {}", path.display())),
        }
    }

    /// The same for the same recipe, however its path is written.
    fn identity(&self) -> PathBuf {
        match self {
            Self::BuiltIn(recipe) => recipe.name.into(),
            Self::File(path) => path.canonicalize().unwrap_or_else(|_| path.clone()),
        }
    }

    /// The directory that paths in the recipe are relative to.
    fn directory(&self) -> PathBuf {
        match self {
            Self::BuiltIn(_) => PathBuf::new(),
            Self::File(path) => path.parent().map_or(PathBuf::new(), Path::to_path_buf),
        }
    }
}
