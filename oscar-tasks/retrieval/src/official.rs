//! The official files of a retrieval split beside its captions: candidates in `.pt`, keys in `.tsv`.

use std::collections::HashMap;
use std::io::{BufRead, Read};
use std::path::Path;

use oscar_core::input::SourceError;
use oscar_datasets::DatasetError;
use oscar_datasets::captions::{read_torch_lists, torch_key};
use oscar_datasets::rows::Key;
use oscar_datasets::text::open_text;

/// `{split}_caption_indexs_top20.pt`: image id to a list of (image id, number of its caption), or to
/// such a list as JSON.
pub(crate) fn candidates(path: &Path) -> Result<HashMap<String, Vec<(String, u64)>>, SourceError> {
    let what = "an [image id, number of the caption]";
    let lists = read_torch_lists(path, what, |item| match item.as_slice() {
        Some([id, at]) => {
            let at = u64::try_from(at.as_i64()?).ok()?;
            Some((Key(torch_key(id)?), at))
        }
        _ => None,
    })?;
    let texts = |list: Vec<(Key, u64)>| list.into_iter().map(|(Key(id), at)| (id, at)).collect();
    Ok(lists
        .into_iter()
        .map(|(key, list)| (key, texts(list)))
        .collect())
}

/// `test_img_keys.tsv`: one image id per line, with its line.
pub(crate) fn image_keys(path: &Path) -> Result<Vec<(usize, String)>, SourceError> {
    /// Longer lines are not ids.
    const MAX_LINE: u64 = 4096;
    let mut keys = Vec::new();
    let (mut file, mut line) = (open_text(path)?, String::new());
    for number in 1.. {
        line.clear();
        // A packed file may hold lines far larger than itself.
        let read = (&mut file).take(MAX_LINE + 1).read_line(&mut line);
        match read.map_err(DatasetError::io("read", path))? as u64 {
            0 => break,
            1..=MAX_LINE => {}
            _ => {
                let found = format!("line {number}: more than {MAX_LINE} bytes");
                return Err(
                    DatasetError::malformed(path, found, "give one image id a line").into(),
                );
            }
        }
        let key = line.split('\t').next().unwrap_or_default().trim();
        if !key.is_empty() {
            keys.push((number, key.to_string()));
        }
    }
    if keys.is_empty() {
        return Err(DatasetError::malformed(path, "no key", "give one image id a line").into());
    }
    Ok(keys)
}
