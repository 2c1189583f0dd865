//! Reads whole files and says, line by line, what is wrong with them.
//!
//! Readers stop at the first thing that is wrong; a check goes on and finds all. Formats register
//! themselves in [`FORMATS`] and are told apart by content.

mod corpus;
mod data_set;
mod folders;
mod format;
mod nlvr2;
mod problem;
mod progress;
mod region_store;
mod report;
mod rows;
mod table;
mod tsv;
mod vqa;

use std::path::{Path, PathBuf};

pub(crate) use data_set::stores;
pub use format::{FORMATS, Format, Sniff, named};
pub use problem::{Finding, Kind, Problem};
pub use progress::Progress;
pub use report::{Checked, Counts, Report};

use crate::error::{DatasetError, Result};
use crate::official::FEATURE_DIM;

/// How many problems a report lists unless asked for more.
pub const SHOWN: usize = 100;

/// How to check.
#[derive(Clone)]
pub struct CheckOptions {
    /// The format of all paths; found out by content by default.
    pub format: Option<&'static dyn Format>,
    /// The images that corpora name: a region store; by default, corpora are checked alone.
    pub regions: Option<PathBuf>,
    /// Appearance values per region of official features; [`FEATURE_DIM`] by default.
    pub feature_dim: usize,
    /// How many problems to list; [`SHOWN`] by default. All are counted.
    pub limit: usize,
    /// Draw a bar on standard error if that is a terminal and checking takes long; on by default.
    pub progress: bool,
}

impl Default for CheckOptions {
    fn default() -> Self {
        Self {
            format: None,
            regions: None,
            feature_dim: FEATURE_DIM,
            limit: SHOWN,
            progress: true,
        }
    }
}

/// What all formats are given.
pub struct Context<'a> {
    /// The images that corpora name.
    pub regions: Option<&'a Path>,
    /// Appearance values per region of official features.
    pub feature_dim: usize,
    /// Drawn on a terminal where a check takes long.
    pub progress: Progress,
}

/// Checks `paths`. Those of one format are checked together: questions with their annotations,
/// features with their labels.
///
/// # Errors
/// If a path is of no known format, or of several; if `feature_dim` is zero; if `regions` are given
/// and no corpus. Whatever is wrong with the content, or keeps a
/// file from being read, is in the report.
pub fn check(paths: &[impl AsRef<Path>], options: &CheckOptions) -> Result<Report> {
    if options.feature_dim == 0 {
        let dir = paths.first().map_or(Path::new(""), AsRef::as_ref);
        let found = "features of no value a region were asked for";
        return Err(DatasetError::malformed(
            dir,
            found,
            "give a feature_dim above zero",
        ));
    }
    let mut report = Report::new(options.limit);
    let mut groups: Vec<(&'static dyn Format, Vec<PathBuf>)> = Vec::new();
    for path in paths {
        let path = path.as_ref();
        let format = match (options.format, Sniff::open(path)) {
            (Some(format), _) => format,
            (None, Ok(seen)) => format::detect(path, &seen)?,
            (None, Err(error)) => {
                report.error(path, &error);
                continue;
            }
        };
        match groups
            .iter_mut()
            .find(|(known, _)| known.name() == format.name())
        {
            Some((_, group)) => group.push(path.to_path_buf()),
            None => groups.push((format, vec![path.to_path_buf()])),
        }
    }
    let mut formats = groups.iter().map(|(format, _)| format.name());
    // Where nothing could be read, that is what has to be said.
    let corpora = groups.is_empty() || formats.any(|name| name == corpus::NAME);
    if let Some(regions) = options.regions.as_deref().filter(|_| !corpora) {
        let found = "images for a corpus, but none of the paths is one";
        return Err(DatasetError::malformed(
            regions,
            found,
            "name the corpus, or leave it out",
        ));
    }
    let context = Context {
        regions: options.regions.as_deref(),
        feature_dim: options.feature_dim,
        progress: Progress::new(options.progress),
    };
    for (format, group) in groups {
        format.check(&group, &context, &mut report);
    }
    context.progress.finish();
    Ok(report)
}

/// Words of a text, for counting.
fn words(text: &str) -> usize {
    text.split_whitespace().count()
}
