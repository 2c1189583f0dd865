//! The reference of a recipe's keys: what each is, takes, and is if a recipe does not set it.
//!
//! It is generated from the types that read a recipe and from their documentation, so it lists what
//! the program reads and nothing else.

use oscar_task::Family;
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Value as Json, json};

use super::configuration::Configuration;
use super::keys::known_keys;

/// A key of a recipe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// Its name with its sections: `train.batch_size`; `[]` follows a list of tables.
    pub name: String,
    /// What it takes: a type, or the words that it may be.
    pub kind: String,
    /// Its value in a recipe that does not set it, as TOML; empty if it has none.
    pub default: String,
    /// What it is.
    pub description: String,
}

/// The JSON Schema of a recipe of `C`, for editors and for checks by other tools.
pub fn schema<C: Configuration + JsonSchema>() -> Json {
    let settings = SchemaSettings::draft07().with(|settings| settings.inline_subschemas = true);
    let mut schema = json!(settings.into_generator().into_root_schema_for::<C>());
    let presets = <C::Family as Family>::PRESETS;
    schema["properties"]["model"]["properties"]["preset"] = json!({
        "description": "Name of a shape, whose sizes the other keys of the section change.",
        "enum": presets,
    });
    schema["properties"]["extends"] = json!({
        "description": "Recipe that this one changes: the name of a built-in one, or a file.",
        "type": "string",
    });
    schema
}

/// All keys of a recipe of `C`, sections in the order of their names.
pub fn keys<C: Configuration + JsonSchema>() -> Vec<Key> {
    let mut known = known_keys::<C>();
    known["extends"] = Json::Null;
    let mut found = Vec::new();
    list(&schema::<C>(), &known, "", &mut found);
    found
}

/// Adds the keys below `path`: those of `known`, described by `schema`.
fn list(schema: &Json, known: &Json, path: &str, found: &mut Vec<Key>) {
    let Some(table) = known.as_object() else {
        return;
    };
    // The keys of a section stand before the sections in it, as TOML wants them.
    let (sections, leaves): (Vec<_>, Vec<_>) =
        table.iter().partition(|(_, value)| nested(value).is_some());
    for (key, value) in leaves {
        let described = &property(schema, key);
        found.push(Key {
            name: joined(path, key),
            kind: kind(described),
            default: default(value),
            description: description(described),
        });
    }
    for (key, value) in sections {
        let described = &property(schema, key);
        let (schema, suffix) = match described.get("items") {
            Some(items) => (items, "[]"),
            None => (described, ""),
        };
        if let Some(known) = nested(value) {
            list(
                schema,
                known,
                &format!("{}{suffix}", joined(path, key)),
                found,
            );
        }
    }
}

/// The table that a value is, or is a list of.
fn nested(value: &Json) -> Option<&Json> {
    match value {
        Json::Object(table) if !table.is_empty() => Some(value),
        Json::Array(items) => match items.first() {
            Some(item @ Json::Object(_)) => Some(item),
            _ => None,
        },
        _ => None,
    }
}

fn joined(path: &str, key: &str) -> String {
    match path {
        "" => key.into(),
        _ => format!("{path}.{key}"),
    }
}

/// The schema of the property `key`, which a flattened part or an optional table may have.
fn property(schema: &Json, key: &str) -> Json {
    if let Some(property) = schema["properties"].get(key) {
        return property.clone();
    }
    let parts = ["anyOf", "allOf", "oneOf"].iter();
    let mut parts = parts.filter_map(|name| schema[name].as_array()).flatten();
    parts
        .find_map(|part| Some(property(part, key)).filter(|found| !found.is_null()))
        .unwrap_or_default()
}

/// The first paragraph of a description, on one line.
fn description(schema: &Json) -> String {
    let text = schema["description"].as_str().unwrap_or_default();
    let paragraph = text.split("\n\n").next().unwrap_or_default();
    paragraph.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// What a value may be, in words.
fn kind(schema: &Json) -> String {
    if let Some(word) = schema.get("const") {
        return word.to_string();
    }
    if let Some(words) = schema["enum"].as_array() {
        return alternatives(
            words
                .iter()
                .filter(|word| !word.is_null())
                .map(Json::to_string),
        );
    }
    for name in ["oneOf", "anyOf"] {
        if let Some(parts) = schema[name].as_array() {
            let known = parts.iter().filter(|part| part["type"] != "null");
            return alternatives(known.map(kind));
        }
    }
    if let Some([part]) = schema["allOf"].as_array().map(Vec::as_slice) {
        return kind(part);
    }
    match &schema["type"] {
        Json::String(word) => of_type(word, schema),
        Json::Array(words) => {
            let words = words.iter().filter_map(Json::as_str);
            alternatives(
                words
                    .filter(|word| *word != "null")
                    .map(|word| of_type(word, schema)),
            )
        }
        _ => "any".into(),
    }
}

fn of_type(word: &str, schema: &Json) -> String {
    match word {
        "array" => match schema["items"].as_array() {
            Some(items) => alternatives(items.iter().map(kind)),
            None => format!("list of {}", kind(&schema["items"])),
        },
        "object" => "table".into(),
        word => word.into(),
    }
}

fn alternatives(words: impl Iterator<Item = String>) -> String {
    let mut words: Vec<String> = words.collect();
    words.dedup();
    words.join(" | ")
}

/// A value as a recipe writes it.
fn default(value: &Json) -> String {
    match value {
        Json::Null => String::new(),
        Json::String(text) if text.is_empty() => String::new(),
        value => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use oscar_pretraining::PretrainConfig;
    use oscar_task::FinetuneConfig;

    use super::*;
    use crate::tasks::{AnyTask, NAMES, OnTask, on_task};

    #[test]
    fn every_key_has_a_type_and_a_description() {
        struct Check;
        impl OnTask for Check {
            type Output = ();
            fn run<T: AnyTask>(self) -> anyhow::Result<()> {
                check(&keys::<FinetuneConfig<T>>(), T::NAME);
                Ok(())
            }
        }
        fn check(keys: &[Key], of: &str) {
            assert!(keys.len() > 50, "{of}: {} keys", keys.len());
            for key in keys {
                assert!(
                    !key.description.is_empty(),
                    "{of}: {key:?} has no description"
                );
                assert_ne!(key.kind, "any", "{of}: {key:?}");
            }
        }
        check(&keys::<PretrainConfig>(), "pre-training");
        NAMES.iter().for_each(|name| on_task(name, Check).unwrap());
    }

    #[test]
    fn a_key_is_described_as_its_type_is() {
        let keys = keys::<PretrainConfig>();
        let find = |name: &str| keys.iter().find(|key| key.name == name).unwrap().clone();
        let rate = find("optimizer.learning_rate");
        assert_eq!(
            (rate.kind.as_str(), rate.default.as_str()),
            ("number", "0.00005")
        );
        assert_eq!(
            find("model.hidden_act").kind.split(" | ").next(),
            Some("\"gelu\"")
        );
        assert_eq!(find("objective[].weight").default, "1.0");
        assert_eq!(find("data.mix[].weight").kind, "number");
        assert!(find("model.preset").kind.contains("base"));
    }
}
