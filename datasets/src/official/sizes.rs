//! Image sizes: `hw.tsv`, or one JSON object of keys.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use oscar_files::python::json_text;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::KeyIndex;
use super::labels::{index_keys, pixels};
use crate::error::{Result, excerpt};
use crate::findings::Defect;
use crate::keys::{self, Other};
use crate::mapped::read_file;
use crate::tsv::TsvFile;

const FIX: &str = "a size is [{\"height\": h, \"width\": w}], that object alone, or `h w`";

#[derive(Deserialize)]
struct Size {
    height: f64,
    width: f64,
    // Makes a list of two numbers, whose order nobody knows, no size.
    #[serde(flatten)]
    _others: HashMap<String, IgnoredAny>,
}

/// Reads the second field of an `hw.tsv` row: width and height.
///
/// # Errors
/// None of the known forms, or sides that are no whole numbers above 0.
pub fn parse_size(field: &str) -> Result<(u32, u32), Defect> {
    let unknown = || Defect::new(format!("its size is {}", excerpt(field)), FIX);
    let json = json_text(field);
    let field = &*json;
    let size = match field.trim_start().as_bytes().first() {
        Some(b'[') => {
            let [size] = serde_json::from_str::<[Size; 1]>(field).map_err(|_| unknown())?;
            size
        }
        Some(b'{') => serde_json::from_str(field).map_err(|_| unknown())?,
        _ => {
            let (height, width) = field.split_once(' ').ok_or_else(unknown)?;
            let side = |text: &str| text.trim().parse().map_err(|_| unknown());
            Size {
                height: side(height)?,
                width: side(width)?,
                _others: HashMap::new(),
            }
        }
    };
    Ok((pixels(size.width)?, pixels(size.height)?))
}

/// Sizes of images, by key.
pub struct SizeTable {
    path: PathBuf,
    table: Table,
}

enum Table {
    Tsv { file: TsvFile, keys: KeyIndex },
    Json(HashMap<String, (u32, u32)>),
}

impl SizeTable {
    /// Opens a table of `key, size` rows, or (by its extension) a JSON object
    /// `{key: {"height": h, "width": w}}`.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn open(path: &Path) -> Result<Self> {
        let json = path
            .extension()
            .is_some_and(|extension| extension == "json");
        let table = if json {
            let text = read_file(path, "it has the sizes of images; check the path")?;
            Table::Json(parse_json(&text).map_err(|defect| defect.in_file(path))?)
        } else {
            let file = TsvFile::open(path)?;
            let keys = index_keys(&file)?;
            Table::Tsv { file, keys }
        };
        let path = path.to_path_buf();
        Ok(Self { path, table })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Refuses the table if it has none of these images.
    ///
    /// # Errors
    /// If it has none.
    pub(crate) fn require<'a>(&'a self, images: impl Iterator<Item = &'a str>) -> Result<()> {
        // What it has in a wrong form is told when it is read.
        let has = |key: &str| !matches!(self.find(key), Ok(None));
        match &self.table {
            Table::Tsv { keys, .. } => keys::require_common(&self.path, keys.iter(), images, has),
            Table::Json(sizes) => {
                let mut known: Vec<&str> = sizes.keys().map(String::as_str).collect();
                known.sort_unstable();
                keys::require_common(&self.path, known.into_iter(), images, has)
            }
        }
    }

    /// Width and height of the image with this key, if the table has it.
    ///
    /// # Errors
    /// If its row cannot be read, with file and row.
    pub fn find(&self, key: &str) -> Result<Option<(u32, u32)>> {
        match &self.table {
            Table::Json(sizes) => Ok(sizes.get(key).copied().or_else(|| {
                let size = |spelling: &str| sizes.get(spelling).map(|_| 0);
                match keys::find_otherwise(key, size) {
                    Other::One(_, spelling) => {
                        keys::tell(&self.path, key, &spelling);
                        sizes.get(&spelling).copied()
                    }
                    _ => None,
                }
            })),
            Table::Tsv { file, keys } => {
                let Some(row) = keys.find_otherwise(&self.path, key) else {
                    return Ok(None);
                };
                let [_, size] = file.first_and_last(row)?;
                let size = parse_size(size).map_err(|defect| {
                    file.located(row, defect.within(format_args!("image `{key}`")))
                })?;
                Ok(Some(size))
            }
        }
    }
}

fn parse_json(text: &[u8]) -> Result<HashMap<String, (u32, u32)>, Defect> {
    let sizes: HashMap<String, Size> = serde_json::from_slice(text).map_err(|error| {
        let found = format!("its sizes cannot be read ({error})");
        Defect::new(
            found,
            "it is a JSON object {key: {\"height\": h, \"width\": w}}",
        )
    })?;
    let entries = sizes.into_iter().map(|(key, size)| {
        let within = |defect: Defect| defect.within(format_args!("image `{key}`"));
        let sides = (
            pixels(size.width).map_err(within)?,
            pixels(size.height).map_err(within)?,
        );
        Ok((key, sides))
    });
    entries.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form() {
        for field in [
            r#"[{"height": 480, "width": 640}]"#,
            r#"{"width": 640.0, "height": 480, "x": 1}"#,
            "[{'height': 480, 'width': 640}]",
            r#""[{""height"": 480, ""width"": 640}]""#,
            "480 640",
        ] {
            assert_eq!(parse_size(field), Ok((640, 480)), "{field}");
        }
        for field in [
            "",
            "480",
            "480 x",
            "[]",
            "[480, 640]",
            "[[480, 640]]",
            "480 0",
            "480 -1",
            "{}",
            "1e9 1e99",
        ] {
            assert!(parse_size(field).is_err(), "{field}");
        }
        let sizes = parse_json(br#"{"a": {"height": 2, "width": 1}}"#).unwrap();
        assert_eq!(sizes["a"], (1, 2));
        assert!(parse_json(br#"{"a": [480, 640]}"#).is_err());
        let found = parse_json(br#"{"a": {"height": 0, "width": 1}}"#)
            .unwrap_err()
            .found;
        assert!(found.contains("image `a`: an image side of 0"), "{found}");
    }
}
