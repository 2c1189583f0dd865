//! A recipe with all that it extends: built-in ones by name, others from TOML files.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use figment::providers::Serialized;
use figment::value::{Dict, Map};
use figment::{Metadata, Profile, Provider};
use oscar_files::{SMALL_FILE, read_text};

use super::builtin::{FINETUNE, Recipe};
use crate::run_dir::header;

/// The key by which a recipe names the one whose values it starts from.
const EXTENDS: &str = "extends";

/// A recipe and what it extends.
pub struct Source {
    /// For messages and for the name of the run.
    pub name: String,
    /// Values of the later ones replace those of the earlier: the recipe itself is the last.
    pub(super) layers: Vec<Layer>,
    /// The command that the recipe itself is for, if that is known: built-in ones and those of runs.
    own_command: Option<String>,
    /// The same, else that of what it extends.
    command: Option<String>,
}

/// The values of one file.
pub(super) struct Layer {
    /// For messages.
    pub origin: String,
    pub table: toml::Table,
}

/// The text of a recipe, and where it is.
struct Text {
    name: String,
    /// For messages.
    origin: String,
    toml: String,
    /// The same for the same recipe, however its path is written.
    identity: PathBuf,
    /// The directory that paths in the recipe are relative to.
    directory: PathBuf,
    /// The command that it is for, if that is known.
    command: Option<String>,
}

impl Source {
    /// A built-in recipe, or a TOML file.
    ///
    /// # Errors
    /// If there is neither, or it or what it extends cannot be read.
    pub fn open(config: &str) -> Result<Self> {
        Self::with_bases(Text::find(config, Path::new(""))?)
    }

    /// A TOML file.
    ///
    /// # Errors
    /// If it or what it extends cannot be read.
    pub fn file(path: &Path) -> Result<Self> {
        Self::with_bases(Text::read(path.into())?)
    }

    /// A text that is in no file.
    #[cfg(test)]
    pub fn of_text(toml: &str) -> Result<Self> {
        let (layer, _) = Layer::parse("text".into(), toml)?;
        Ok(Self {
            name: "text".into(),
            layers: vec![layer],
            own_command: None,
            command: None,
        })
    }

    /// The task that the recipe is for, if that is known; `Err` with the command of another kind of
    /// recipe.
    pub fn task(&self) -> Option<Result<&str, &str>> {
        let command = self.command.as_deref()?;
        Some(command.strip_prefix(FINETUNE).ok_or(command))
    }

    /// Checks that the recipe is not known to be for another command than `command`.
    ///
    /// # Errors
    /// If it is.
    fn require_command(&self, command: &str) -> Result<()> {
        let Some(own) = self.own_command.as_deref().filter(|own| *own != command) else {
            return Ok(());
        };
        let name = &self.name;
        match own.strip_prefix(FINETUNE) {
            Some(task) => bail!(
                "{name} is a recipe of task {task}, for `oscar-bin finetune --task {task}`, not for \
                 `oscar-bin {command}`"
            ),
            None => {
                bail!("{name} is a recipe for `oscar-bin {own}`, not for `oscar-bin {command}`")
            }
        }
    }

    /// What `resolve` makes of the recipe for `command`; if it fails, and what the recipe extends is for
    /// another command, the error says so: the keys are those of that one.
    ///
    /// # Errors
    /// If the recipe is known to be for another command, and those of `resolve`.
    pub fn for_command<C>(
        &self,
        command: &str,
        resolve: impl FnOnce(&Self) -> Result<C>,
    ) -> Result<C> {
        self.require_command(command)?;
        let resolved = resolve(self);
        match self.command.as_deref().filter(|other| *other != command) {
            None => resolved,
            Some(other) => resolved.with_context(|| {
                let name = &self.name;
                format!(
                    "{name} extends a recipe for `oscar-bin {other}`, not for `oscar-bin {command}`"
                )
            }),
        }
    }

    /// What the recipe itself is called in messages.
    pub(super) fn origin(&self) -> &str {
        self.layers.last().map_or("", |layer| &layer.origin)
    }

    fn with_bases(recipe: Text) -> Result<Self> {
        let name = recipe.name.clone();
        let own_command = recipe.command.clone();
        let mut command = None;
        let (mut layers, mut visited) = (Vec::new(), Vec::new());
        let mut next = Some(recipe);
        while let Some(recipe) = next.take() {
            let (layer, extends) = Layer::parse(recipe.origin.clone(), &recipe.toml)?;
            layers.push(layer);
            command = command.or(recipe.command);
            if visited.contains(&recipe.identity) {
                let chain: Vec<&str> = layers.iter().map(|layer| &*layer.origin).collect();
                bail!("recipes extend each other: {}", chain.join(" extends "));
            }
            if let Some(base) = extends {
                let found = Text::find(&base, &recipe.directory);
                next = Some(found.with_context(|| format!("{}: {EXTENDS}", recipe.origin))?);
            }
            visited.push(recipe.identity);
        }
        layers.reverse();
        Ok(Self {
            name,
            layers,
            own_command,
            command,
        })
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

impl Text {
    /// The recipe called `name`, else the file `name` in `directory`.
    fn find(name: &str, directory: &Path) -> Result<Self> {
        if let Some(recipe) = Recipe::find(name) {
            return Ok(Self {
                name: name.into(),
                origin: format!("the recipe {name}"),
                toml: recipe.toml.into(),
                identity: name.into(),
                directory: PathBuf::new(),
                command: Some(recipe.command.clone()),
            });
        }
        let path = directory.join(name);
        if path.extension().is_none() && !path.exists() {
            let alike = Recipe::alike(name).join(", ");
            let hint = match alike.is_empty() {
                true => String::new(),
                false => format!(" Did you mean {alike}?"),
            };
            bail!(
                "{name:?} is neither a built-in recipe (`oscar-bin recipes` lists them) nor a \
                 file.{hint}"
            );
        }
        Self::read(path)
    }

    fn read(path: PathBuf) -> Result<Self> {
        let toml = read_text(&path, SMALL_FILE).context("cannot read the configuration")?;
        Ok(Self {
            command: header::command_of(&toml).map(String::from),
            name: path
                .file_stem()
                .map_or("run".into(), |stem| stem.to_string_lossy().into()),
            origin: path.display().to_string(),
            toml,
            directory: path.parent().map_or(PathBuf::new(), Path::to_path_buf),
            identity: path.canonicalize().unwrap_or(path),
        })
    }
}
