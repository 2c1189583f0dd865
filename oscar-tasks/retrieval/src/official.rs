//! The official files of a retrieval split: captions and candidates in `.pt`, keys in `.tsv`.

use std::collections::HashMap;
use std::io::{BufRead, Read};
use std::path::Path;

use oscar_core::input::SourceError;
use oscar_datasets::annotations::captions::CaptionedImage;
use oscar_datasets::rows;
use oscar_files::pytorch::{Dict, TorchFile, Value};

use oscar_files::FileError;

/// `{split}_captions.pt`: image id to a list of captions, or to such a list as JSON.
pub(crate) fn captions(path: &Path) -> Result<Vec<CaptionedImage>, SourceError> {
    let file = TorchFile::open(path)?;
    dict(&file)?
        .iter()
        .map(|(key, value)| {
            let key = key_of(path, key)?;
            let wrong = |found: String| {
                let found = format!("image {key}: {found}");
                let fix = "give a list of texts, or one as JSON";
                SourceError::from(FileError::malformed(path, found, fix))
            };
            let captions = match value {
                Value::Str(json) => serde_json::from_str(json).map_err(|e| wrong(e.to_string()))?,
                value => {
                    let items = value
                        .as_slice()
                        .ok_or_else(|| wrong(format!("a {}", value.type_name())))?;
                    let texts = items.iter().map(|item| match item.as_str() {
                        Some(text) => Ok(text.to_string()),
                        None => Err(wrong(format!("a {} among its captions", item.type_name()))),
                    });
                    texts.collect::<Result<Vec<_>, _>>()?
                }
            };
            Ok(CaptionedImage {
                key,
                captions,
                ..CaptionedImage::default()
            })
        })
        .collect()
}

/// `{split}_caption_indexs_top20.pt`: image id to a list of (image id, number of its caption), or to
/// such a list as JSON.
pub(crate) fn candidates(path: &Path) -> Result<HashMap<String, Vec<(String, u64)>>, SourceError> {
    let file = TorchFile::open(path)?;
    dict(&file)?
        .iter()
        .map(|(key, value)| {
            let key = key_of(path, key)?;
            let wrong = |found: String| {
                let found = format!("candidates of image {key}: {found}");
                let fix = "give a list of [image id, number of the caption]";
                SourceError::from(FileError::malformed(path, found, fix))
            };
            let list = match value {
                Value::Str(json) => {
                    let pairs: Vec<(serde_json::Value, u64)> =
                        serde_json::from_str(json).map_err(|e| wrong(e.to_string()))?;
                    let text = |id: serde_json::Value| match id {
                        serde_json::Value::String(text) => text,
                        id => id.to_string(),
                    };
                    pairs.into_iter().map(|(id, at)| (text(id), at)).collect()
                }
                value => {
                    let items = value
                        .as_slice()
                        .ok_or_else(|| wrong(format!("a {}", value.type_name())))?;
                    let pair = |item: &Value| match item.as_slice() {
                        Some([id, at]) => {
                            let at = at.as_i64().and_then(|at| u64::try_from(at).ok());
                            let at = at.ok_or_else(|| wrong("a caption without number".into()))?;
                            Ok((key_of(path, id)?, at))
                        }
                        _ => Err(wrong(format!("a {} among them", item.type_name()))),
                    };
                    items.iter().map(pair).collect::<Result<Vec<_>, _>>()?
                }
            };
            Ok((key, list))
        })
        .collect()
}

/// `test_img_keys.tsv`: one image id per line, with its line.
pub(crate) fn image_keys(path: &Path) -> Result<Vec<(usize, String)>, SourceError> {
    /// Longer lines are no ids.
    const MAX_LINE: u64 = 4096;
    let mut keys = Vec::new();
    let (mut file, mut line) = (rows::open(path)?, String::new());
    for number in 1.. {
        line.clear();
        // A packed file may hold lines far larger than itself.
        let read = (&mut file).take(MAX_LINE + 1).read_line(&mut line);
        match read.map_err(FileError::io("read", path))? as u64 {
            0 => break,
            1..=MAX_LINE => {}
            _ => {
                let found = format!("line {number}: more than {MAX_LINE} bytes");
                return Err(FileError::malformed(path, found, "give one image id a line").into());
            }
        }
        let key = line.split('\t').next().unwrap_or_default().trim();
        if !key.is_empty() {
            keys.push((number, key.to_string()));
        }
    }
    if keys.is_empty() {
        return Err(FileError::malformed(path, "no key", "give one image id a line").into());
    }
    Ok(keys)
}

fn dict(file: &TorchFile) -> Result<&Dict, FileError> {
    let value = file.value();
    value.as_dict().ok_or_else(|| {
        let found = format!("a {}, not a dict by image id", value.type_name());
        FileError::malformed(file.path(), found, "is this another file?")
    })
}

fn key_of(path: &Path, key: &Value) -> Result<String, FileError> {
    match key {
        Value::Int(id) => Ok(id.to_string()),
        Value::Str(id) => Ok(id.to_string()),
        other => {
            let found = format!("a {} where an image id belongs", other.type_name());
            Err(FileError::malformed(path, found, "ids are int or str"))
        }
    }
}
