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
use crate::keys::{self, Other, without_ending};
use crate::mapped::read_file;
use crate::rows::Key;
use crate::tsv::TsvFile;

const JSON: &str = "it is a JSON object {key: {\"height\": h, \"width\": w}}, or COCO's annotations with their list \
                    of `images`";

const FIX: &str = "a size is [{\"height\": h, \"width\": w}], that object alone, or `h w`";

#[derive(Deserialize)]
struct Size {
    height: f64,
    width: f64,
    // Makes a list of two numbers, whose order nobody knows, no size.
    #[serde(flatten)]
    _others: HashMap<String, IgnoredAny>,
}

/// An image in the list of COCO's annotations, or of Visual Genome's.
#[derive(Deserialize)]
struct Listed {
    #[serde(alias = "image_id")]
    id: Option<Key>,
    file_name: Option<String>,
    height: f64,
    width: f64,
    // As for `Size`.
    #[serde(flatten)]
    _others: HashMap<String, IgnoredAny>,
}

/// COCO's annotations.
#[derive(Deserialize)]
struct Annotations {
    images: Vec<Listed>,
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
    /// `{key: {"height": h, "width": w}}` or COCO's annotations.
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
    let error = match serde_json::from_slice::<HashMap<String, Size>>(text) {
        Ok(sizes) => {
            let sizes = sizes.into_iter();
            return collect(sizes.map(|(key, size)| (key, size.width, size.height)));
        }
        Err(error) => error,
    };
    let listed = serde_json::from_slice::<Annotations>(text)
        .map(|annotations| annotations.images)
        .or_else(|_| serde_json::from_slice::<Vec<Listed>>(text));
    let Ok(listed) = listed else {
        let found = format!("its sizes cannot be read ({error})");
        return Err(Defect::new(found, JSON));
    };
    // Ids are numbers that other files give to other images: the name of the file goes first.
    collect(listed.into_iter().map(|image| {
        let file = image.file_name.as_deref().map(without_ending);
        let key = file.map(String::from).or(image.id.map(|id| id.0));
        (key.unwrap_or_default(), image.width, image.height)
    }))
}

/// Sizes by key, of keys with width and height.
fn collect(
    sizes: impl Iterator<Item = (String, f64, f64)>,
) -> Result<HashMap<String, (u32, u32)>, Defect> {
    let mut found = HashMap::new();
    for (key, width, height) in sizes {
        let within = |defect: Defect| defect.within(format_args!("image `{key}`"));
        let size = (
            pixels(width).map_err(within)?,
            pixels(height).map_err(within)?,
        );
        if found
            .insert(key.clone(), size)
            .is_some_and(|other| other != size)
        {
            let two = Defect::new("two sizes", "keep the one of this image");
            return Err(within(two));
        }
    }
    Ok(found)
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
        for text in [
            &br#"{"info": {}, "images": [{"id": 7, "file_name": "val/a.jpg", "width": 1, "height": 2}]}"#[..],
            br#"[{"image_id": "a", "url": "x", "width": 1, "height": 2}]"#,
        ] {
            let sizes = parse_json(text).unwrap();
            assert_eq!((sizes.len(), sizes["a"]), (1, (1, 2)));
        }
        let two = br#"[{"id": 1, "width": 1, "height": 2}, {"id": 1, "width": 2, "height": 2}]"#;
        assert!(
            parse_json(two)
                .unwrap_err()
                .found
                .contains("image `1`: two")
        );
        assert!(parse_json(br#"{"images": [[1, "a.jpg", 480, 640]]}"#).is_err());
        assert!(parse_json(br#"{"a": [480, 640]}"#).is_err());
        let found = parse_json(br#"{"a": {"height": 0, "width": 1}}"#)
            .unwrap_err()
            .found;
        assert!(found.contains("image `a`: an image side of 0"), "{found}");
    }
}
