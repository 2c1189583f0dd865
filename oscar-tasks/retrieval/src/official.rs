//! The official file of candidates of a retrieval split, a `.pt`.

use std::collections::HashMap;
use std::path::Path;

use oscar_core::input::SourceError;
use oscar_datasets::captions::{read_torch_lists, torch_key};
use oscar_datasets::rows::Key;

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
