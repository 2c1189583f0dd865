//! The built-in recipes: the files in `config/`.

use std::sync::LazyLock;

use include_dir::{Dir, include_dir};

/// A built-in recipe.
pub struct Recipe {
    /// Name of its file without the extension.
    pub name: &'static str,
    /// Content of its file.
    pub toml: &'static str,
}

/// Folders of recipes: every file in them is a recipe.
static FOLDERS: [Dir<'static>; 2] = [
    include_dir!("$CARGO_MANIFEST_DIR/../config/pretrain"),
    include_dir!("$CARGO_MANIFEST_DIR/../config/finetune"),
];

/// All of them; the first is the default of `train`.
pub static RECIPES: LazyLock<Vec<Recipe>> = LazyLock::new(|| {
    let mut recipes = vec![Recipe {
        name: "quickstart",
        toml: include_str!("../../../config/quickstart.toml"),
    }];
    for folder in &FOLDERS {
        let mut of_folder: Vec<Recipe> = folder
            .files()
            .filter_map(|file| {
                Some(Recipe {
                    name: file.path().to_str()?.strip_suffix(".toml")?,
                    toml: file.contents_utf8()?,
                })
            })
            .collect();
        of_folder.sort_by_key(|recipe| recipe.name);
        recipes.extend(of_folder);
    }
    recipes
});

impl Recipe {
    /// The recipe called `name`.
    pub fn find(name: &str) -> Option<&'static Recipe> {
        RECIPES.iter().find(|recipe| recipe.name == name)
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
