//! Configurations: built-in recipes, files, `--set`, and the shipped sample they may name.

mod builtin;
mod configuration;
mod inert;
mod keys;
mod length;
mod reference;
mod resolve;
pub mod sample;
mod setting;
mod source;

pub use self::builtin::{RECIPES, Recipe};
pub use self::configuration::{Configuration, Sections};
pub use self::keys::{empty_keys, similar};
pub use self::reference::{Key, keys, schema};
pub use self::resolve::{
    from_toml, overridden, resolve, resolve_alone, resolve_with_notes, to_toml,
};
pub use self::source::Source;
