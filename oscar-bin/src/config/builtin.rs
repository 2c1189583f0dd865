//! The built-in recipes: the files in `config/`.

use std::sync::LazyLock;

use include_dir::{Dir, include_dir};

use super::keys::similar;

/// A built-in recipe.
pub struct Recipe {
    /// Name of its file without the extension.
    pub name: &'static str,
    /// Content of its file.
    pub toml: &'static str,
    /// The command that it is for, as it is typed: `finetune --task vqa`.
    pub command: String,
}

/// The command of pre-training recipes.
const PRETRAIN: &str = "train";

/// What commands of fine-tuning begin with.
pub(super) const FINETUNE: &str = "finetune --task ";

/// Folders of recipes, with whether they are for pre-training: every file in them is a recipe.
static FOLDERS: [(Dir<'static>, bool); 2] = [
    (include_dir!("$CARGO_MANIFEST_DIR/../config/pretrain"), true),
    (
        include_dir!("$CARGO_MANIFEST_DIR/../config/finetune"),
        false,
    ),
];

/// All of them; the first is the default of `train`.
pub static RECIPES: LazyLock<Vec<Recipe>> = LazyLock::new(|| {
    let mut recipes = vec![Recipe {
        name: "quickstart",
        toml: include_str!("../../../config/quickstart.toml"),
        command: PRETRAIN.into(),
    }];
    for (folder, pretrains) in &FOLDERS {
        let mut of_folder: Vec<Recipe> = folder
            .files()
            .filter_map(|file| {
                let name = file.path().to_str()?.strip_suffix(".toml")?;
                Some(Recipe {
                    name,
                    toml: file.contents_utf8()?,
                    command: match pretrains {
                        true => PRETRAIN.into(),
                        false => format!("{FINETUNE}{}", task_of(name)),
                    },
                })
            })
            .collect();
        of_folder.sort_by_key(|recipe| recipe.name);
        recipes.extend(of_folder);
    }
    recipes
});

/// The task of a fine-tuning recipe, by which its name begins.
fn task_of(name: &str) -> &str {
    match name.split('-').next().unwrap_or(name) {
        "nocaps" => "captioning",
        task => task,
    }
}

impl Recipe {
    /// The recipe called `name`.
    pub fn find(name: &str) -> Option<&'static Recipe> {
        RECIPES.iter().find(|recipe| recipe.name == name)
    }

    /// The recipes that may be meant by `name`, which is none: those that have it in their names, else
    /// the nearest, if it is alike.
    pub fn alike(name: &str) -> Vec<&'static str> {
        let names = || RECIPES.iter().map(|recipe| recipe.name);
        let has_it = |known: &&str| !name.is_empty() && known.contains(name);
        let with_it: Vec<&str> = names().filter(has_it).collect();
        match with_it.is_empty() {
            true => similar(name, names()).into_iter().collect(),
            false => with_it,
        }
    }

    /// Its task; none if it is for pre-training.
    pub fn task(&self) -> Option<&str> {
        self.command.strip_prefix(FINETUNE)
    }

    /// The first comment line of its file.
    pub fn summary(&self) -> &'static str {
        self.toml
            .lines()
            .next()
            .unwrap_or_default()
            .trim_start_matches("# ")
    }
}
