//! The recipes that are built in: the files under `config/`.

use std::io::Write;

use anyhow::{Result, bail};

use crate::Ending;
use crate::cli::RecipesArgs;

/// A recipe by name, with what it is.
pub struct Recipe {
    pub name: &'static str,
    pub toml: &'static str,
}

macro_rules! recipes {
    ($($name:literal => $file:literal),* $(,)?) => {
        &[$(Recipe { name: $name, toml: include_str!(concat!("../../config/", $file)) }),*]
    };
}

/// All of them; the first is the default of `train`.
pub const RECIPES: &[Recipe] = recipes! {
    "quickstart" => "quickstart.toml",
    "oscar-base" => "pretrain/oscar-base.toml",
    "oscar-large" => "pretrain/oscar-large.toml",
    "oscarplus-base" => "pretrain/oscarplus-base.toml",
    "oscarplus-large" => "pretrain/oscarplus-large.toml",
    "vqa-base" => "finetune/vqa-base.toml",
    "vqa-large" => "finetune/vqa-large.toml",
    "vqa-vinvl-base" => "finetune/vqa-vinvl-base.toml",
    "vqa-vinvl-large" => "finetune/vqa-vinvl-large.toml",
    "vqa-mini" => "finetune/vqa-mini.toml",
    "vqa-question-only" => "finetune/vqa-question-only.toml",
    "gqa-base" => "finetune/gqa-base.toml",
    "gqa-balanced" => "finetune/gqa-balanced.toml",
    "gqa-vinvl-base" => "finetune/gqa-vinvl-base.toml",
    "gqa-vinvl-balanced" => "finetune/gqa-vinvl-balanced.toml",
    "gqa-mini" => "finetune/gqa-mini.toml",
    "nlvr2-mini" => "finetune/nlvr2-mini.toml",
    "nlvr2-base" => "finetune/nlvr2-base.toml",
    "nlvr2-large" => "finetune/nlvr2-large.toml",
    "nlvr2-vinvl-base" => "finetune/nlvr2-vinvl-base.toml",
    "nlvr2-vinvl-large" => "finetune/nlvr2-vinvl-large.toml",
    "nlvr-human" => "finetune/nlvr-human.toml",
    "retrieval-base" => "finetune/retrieval-base.toml",
    "retrieval-large" => "finetune/retrieval-large.toml",
    "retrieval-vinvl-base" => "finetune/retrieval-vinvl-base.toml",
    "retrieval-vinvl-large" => "finetune/retrieval-vinvl-large.toml",
    "retrieval-mini" => "finetune/retrieval-mini.toml",
    "matching-mini" => "finetune/matching-mini.toml",
    "captioning-base" => "finetune/captioning-base.toml",
    "captioning-base-scst" => "finetune/captioning-base-scst.toml",
    "captioning-vinvl-base" => "finetune/captioning-vinvl-base.toml",
    "captioning-vinvl-base-scst" => "finetune/captioning-vinvl-base-scst.toml",
    "captioning-large" => "finetune/captioning-large.toml",
    "captioning-large-scst" => "finetune/captioning-large-scst.toml",
    "captioning-vinvl-large" => "finetune/captioning-vinvl-large.toml",
    "captioning-vinvl-large-scst" => "finetune/captioning-vinvl-large-scst.toml",
    "nocaps-base" => "finetune/nocaps-base.toml",
    "nocaps-base-scst" => "finetune/nocaps-base-scst.toml",
    "nocaps-base-cbs" => "finetune/nocaps-base-cbs.toml",
    "nocaps-large" => "finetune/nocaps-large.toml",
    "nocaps-large-scst" => "finetune/nocaps-large-scst.toml",
    "nocaps-large-cbs" => "finetune/nocaps-large-cbs.toml",
    "captioning-mini" => "finetune/captioning-mini.toml",
    "captioning-mini-scst" => "finetune/captioning-mini-scst.toml",
};

impl Recipe {
    /// The recipe called `name`.
    pub fn find(name: &str) -> Option<&'static Recipe> {
        RECIPES.iter().find(|recipe| recipe.name == name)
    }

    /// The first comment line of its file.
    fn summary(&self) -> &'static str {
        self.toml
            .lines()
            .next()
            .unwrap_or_default()
            .trim_start_matches("# ")
    }
}

/// `oscar-bin recipes [NAME]`.
pub fn run(args: &RecipesArgs) -> Result<Ending> {
    let mut out = std::io::stdout().lock();
    match &args.name {
        None => {
            for recipe in RECIPES {
                writeln!(out, "{:<20} {}", recipe.name, recipe.summary())?;
            }
        }
        Some(name) => match Recipe::find(name) {
            Some(recipe) => write!(out, "{}", recipe.toml)?,
            None => bail!("no recipe is called {name:?}; `oscar-bin recipes` lists them"),
        },
    }
    Ok(Ending::Done)
}
