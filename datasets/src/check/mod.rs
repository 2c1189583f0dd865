//! Reads whole files with the readers of training and lists everything that is wrong, with file and
//! line.
//!
//! Formats register themselves in `format::FORMATS` and are detected by content; rows of a task may be
//! good for several, and its format says which.

mod data_set;
mod folders;
mod format;
mod progress;
mod region_store;
mod report;
mod rows;
mod table;
mod tasks;
mod tsv;

use std::path::{Path, PathBuf};

pub(crate) use data_set::stores;
pub use format::{Format, named, of_task};
use format::{Sniff, detect};
use progress::Progress;
pub use report::{Checked, Report};

use crate::captions::Splits;
use crate::error::{DatasetError, Result};
pub use crate::findings::{Counts, Kind, Problem};
use crate::images::{SharedImages, open_images};
use crate::official::FEATURE_DIM;

/// How many problems a report lists by default.
pub const SHOWN: usize = 100;

/// How to check.
#[derive(Clone)]
pub struct CheckOptions {
    /// The format of all paths; detected by content by default.
    pub format: Option<&'static Format>,
    /// The images that rows name, as [`open_images`] opens them; by default, they are not looked up.
    pub regions: Option<PathBuf>,
    /// Appearance values per region of official features; [`FEATURE_DIM`] by default.
    pub feature_dim: usize,
    /// How many problems to list; [`SHOWN`] by default. All are counted.
    pub limit: usize,
    /// Show a bar on standard error if that is a terminal and checking takes long; on by default.
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
    /// The images that rows name.
    images: Option<SharedImages>,
    /// Whether regions were given, be they readable or not.
    has_regions: bool,
    /// Appearance values per region of official features.
    feature_dim: usize,
    /// Shown on a terminal where a check takes long.
    progress: &'a Progress,
}

/// Checks `paths`. Those of one format are checked together: questions with their annotations,
/// features with their labels.
///
/// # Errors
/// If a path is of no known format, or of several; if `feature_dim` is zero; if `regions` are given
/// and no path names images. Whatever is wrong with the content, or keeps a file from being read, is
/// in the report.
pub fn check(paths: &[impl AsRef<Path>], options: &CheckOptions) -> Result<Report> {
    if options.feature_dim == 0 {
        let dir = paths.first().map_or(Path::new(""), AsRef::as_ref);
        let fix = "give a feature_dim above zero";
        return Err(DatasetError::malformed(dir, "feature_dim is 0", fix));
    }
    let mut report = Report::new(options.limit);
    let mut groups: Vec<(&'static Format, Vec<PathBuf>)> = Vec::new();
    for path in paths {
        let path = path.as_ref();
        let (file, _) = Splits::named(path);
        let format = match (options.format, Sniff::open(&file)) {
            (Some(format), _) => format,
            (None, Ok(seen)) => detect(&file, &seen)?,
            (None, Err(error)) => {
                report.error(path, &error);
                continue;
            }
        };
        match groups
            .iter_mut()
            .find(|(known, _)| known.name == format.name)
        {
            Some((_, group)) => group.push(path.to_path_buf()),
            None => groups.push((format, vec![path.to_path_buf()])),
        }
    }
    // Where nothing could be read, that is what matters.
    let named = groups.is_empty() || groups.iter().any(|(format, _)| format.names_images);
    if let Some(regions) = options.regions.as_deref().filter(|_| !named) {
        let found = "regions were given, but no path is a file of rows that name images";
        let fix = "name such a file, or leave the regions out";
        return Err(DatasetError::malformed(regions, found, fix));
    }
    let progress = Progress::new(options.progress);
    let mut context = Context {
        images: None,
        has_regions: options.regions.is_some(),
        feature_dim: options.feature_dim,
        progress: &progress,
    };
    if let Some(path) = &options.regions {
        match open_images(path) {
            Ok(images) => context.images = Some(images),
            Err(error) => report.error(path, &error),
        }
    }
    for (format, group) in groups {
        (format.check)(&group, &context, &mut report);
    }
    progress.finish();
    Ok(report)
}
