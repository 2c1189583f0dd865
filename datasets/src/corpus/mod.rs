//! Corpora: texts that name images.
//!
//! | layout | read by |
//! |---|---|
//! | JSON lines, or an array of the same objects, over one region store | [`JsonlCorpus`] |
//! | the official pre-training corpus: YAML, TSV, label folders, feature folders | [`OfficialCorpus`] |
//! | ROSITA's annotations, with scene graphs: TSV, over one region store | [`RositaCorpus`] |
//! | several of these, one after the other | [`JoinedCorpus`] |
//!
//! [`open_corpus`] opens either layout. Every row is checked when a corpus is opened, on all cores,
//! so that no bad row stops a training run hours later; the texts themselves stay in their files.

mod check;
mod graph;
mod joined;
mod jsonl;
mod jsonl_row;
mod official;
mod rosita;
mod row_file;

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use oscar_core::input::ExampleSource;

pub use joined::JoinedCorpus;
pub use jsonl::JsonlCorpus;
pub(crate) use jsonl::check_jsonl;
pub use official::{OfficialCorpus, OfficialCorpusOptions};
pub use rosita::RositaCorpus;
pub(crate) use rosita::{check_rosita, is_rosita};

use crate::error::{DatasetError, Result};
use crate::images::open_images;
use crate::text::open_text;

/// A corpus of either layout, opened.
pub struct OpenedCorpus {
    /// Its rows.
    pub rows: Arc<dyn ExampleSource>,
    /// Values per region of its images.
    pub region_dim: usize,
}

/// Opens the corpus at `path`.
///
/// A `.yaml` or `.yml` is an official corpus, and `regions` the data directory that its feature
/// folders are relative to; a `.jsonl` or `.json` is a corpus of JSON lines or an array, and
/// `regions` its images, and so it is of a `.tsv` of ROSITA's annotations. Another file is JSON if its
/// first character is a brace or a bracket.
///
/// # Errors
/// As [`OfficialCorpus::open`] and [`JsonlCorpus::open`]; options of the official layout for a
/// corpus of JSON lines.
pub fn open_corpus(
    path: &Path,
    regions: &Path,
    options: OfficialCorpusOptions,
) -> Result<OpenedCorpus> {
    let rosita = is_rosita(path);
    if !rosita && is_official(path)? {
        let corpus = OfficialCorpus::open(path, regions, options)?;
        let region_dim = corpus.region_dim();
        return Ok(OpenedCorpus {
            rows: Arc::new(corpus),
            region_dim,
        });
    }
    if options != OfficialCorpusOptions::default() {
        return Err(DatasetError::malformed(
            path,
            "it is no YAML file, but options of the official layout are set for it",
            "remove `chunks`, `use_gtlabels`, `skip_missing_images` and `outside_paths`, which only a \
             YAML corpus has",
        ));
    }
    let images = open_images(regions)?;
    let region_dim = images.region_dim();
    let rows: Arc<dyn ExampleSource> = match rosita {
        true => Arc::new(RositaCorpus::open(path, images)?),
        false => Arc::new(JsonlCorpus::open(path, images)?),
    };
    Ok(OpenedCorpus { rows, region_dim })
}

/// Whether `path` describes an official corpus: by its extension, else by its first character.
fn is_official(path: &Path) -> Result<bool> {
    let extension = path.extension().and_then(|extension| extension.to_str());
    match extension.map(str::to_ascii_lowercase).as_deref() {
        Some("yaml" | "yml") => return Ok(true),
        Some("jsonl" | "json") => return Ok(false),
        Some("tsv") => {
            return Err(DatasetError::malformed(
                path,
                "it is a table",
                "give the YAML file that names it as its `corpus_file`",
            ));
        }
        _ => (),
    }
    let mut start = Vec::new();
    match open_text(path) {
        // The reader of JSON lines has the better message.
        Err(_) => return Ok(false),
        Ok(file) => file
            .take(4096)
            .read_to_end(&mut start)
            .map_err(DatasetError::io("read", path))?,
    };
    Ok(!matches!(
        start.trim_ascii_start().first(),
        Some(b'{' | b'[')
    ))
}
