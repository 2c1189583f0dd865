//! Folders with a file of features for each image.

use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::format::Sniff;
use super::rows::{Row, image_row};
use super::{Context, Format, Report};
use crate::error::DatasetError;
use crate::findings::{Counts, Problem};
use crate::import::{FeatureSource, Source, SourceOptions};
use crate::store::INDEX_FILE;

/// Images between two steps of the bar.
const CHUNK: usize = 64;

const NAME: &str = "features";

/// The format of what an import reads image by image.
pub(super) const FOLDERS: Format = Format {
    name: NAME,
    about: "a folder of .npz, .npy or .safetensors files, one an image",
    names_images: false,
    recognizes: Some(recognizes),
    check: check_all,
};

fn recognizes(path: &Sniff) -> bool {
    let ends = |ending: &str| path.entries.iter().any(|entry| entry.ends_with(ending));
    // A store, even without its index, is made of other safetensors files.
    let store = path.has(INDEX_FILE) || path.entries.iter().any(|e| e.starts_with("regions-"));
    ends(".npz") || ends(".npy") || (ends(".safetensors") && !store)
}

fn check_all(paths: &[PathBuf], context: &Context, report: &mut Report) {
    for path in paths {
        check_folder(path, context, report);
    }
}

fn check_folder(path: &Path, context: &Context, report: &mut Report) {
    let options = SourceOptions {
        feature_dim: context.feature_dim,
        ..SourceOptions::default()
    };
    let source = match Source::open(path, options) {
        Ok(source) => source,
        Err(error) => return report.error(path, &error),
    };
    context
        .progress
        .start(&path.display().to_string(), source.len());
    let mut counts = Counts::default();
    for start in (0..source.len()).step_by(CHUNK) {
        let end = (start + CHUNK).min(source.len());
        let images: Vec<Result<(String, Row), DatasetError>> = (start..end)
            .into_par_iter()
            .map(|row| {
                let image = source.read(row)?;
                Ok((image.key.clone(), image_row(image, context.feature_dim)))
            })
            .collect();
        for image in images {
            match image {
                Err(error) => report.error(path, &error),
                Ok((key, row)) => {
                    counts.extend(&row.counts);
                    for finding in row.findings {
                        report.push(Problem::of_key(path, &key, finding));
                    }
                }
            }
        }
        context.progress.advance(end - start);
    }
    let checked = report.checked(path, source.format().name(), counts);
    checked.notes = source.notes();
}
