//! What a corpus needs to know of images, wherever their regions come from.

use std::path::Path;
use std::sync::Arc;

use oscar_core::input::{RegionHandle, RegionSource, SourceError};

use crate::error::{DatasetError, Result};
use crate::findings::{Defect, Kind};
use crate::official::{OfficialFiles, OfficialImages, OfficialOptions};
use crate::store::{INDEX_FILE, RegionStore};
use crate::view::View;
use crate::yaml::Tables;

/// Images by key, with their regions and their object tags.
///
/// Implemented by [`RegionStore`], and by readers of other formats that can be
/// trained from without an import.
pub trait ImageSource: RegionSource {
    /// Number of images.
    fn len(&self) -> usize;

    /// Whether there is no image.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The row of the image with this key.
    fn find(&self, key: &str) -> Option<usize>;

    /// The row of the image with this key.
    ///
    /// # Errors
    /// If there is none.
    fn require(&self, key: &str) -> Result<usize, Defect> {
        self.find(key).ok_or_else(|| {
            let found = format!("image `{key}` is not in {}", self.path().display());
            Defect::of(Kind::UnknownImage, found).fix("add its regions, or drop the row")
        })
    }

    /// The classes of the objects in image `row`, joined by single spaces, in file order; empty
    /// if the source has none.
    ///
    /// # Errors
    /// If they cannot be read.
    fn tag_text(&self, row: usize) -> Result<String>;

    /// The file or directory, for messages.
    fn path(&self) -> &Path;
}

/// Images shared between the rows of a corpus and the threads that read them.
pub type SharedImages = Arc<dyn ImageSource>;

/// Opens the images at `path`: a region store; or official feature files, which are decoded as
/// they are read: a `features.tsv`, its folder, a folder of chunks, or the YAML file that
/// names them. A question at the end of the
/// path shows them otherwise, for experiments: see [`crate::view`].
///
/// # Errors
/// If there is neither, or it cannot be read.
pub fn open_images(path: &Path) -> Result<SharedImages> {
    if let Some((plain, view)) = View::of_path(path)? {
        return view.of_images(open_images(&plain)?, path);
    }
    if path.join(INDEX_FILE).exists() {
        return Ok(RegionStore::open(path)?);
    }
    if Tables::is_one(path) {
        return Tables::read(path)?.open_images(path);
    }
    let table = path.extension().is_some_and(|extension| extension == "tsv");
    if (table || path.is_dir())
        && let Some(files) = OfficialFiles::find(path)?
    {
        let options = OfficialOptions::default();
        return Ok(OfficialImages::open_files(path, &files, options)?);
    }
    if path.is_file() {
        return Err(DatasetError::malformed(
            path,
            "it is neither a region store nor an official feature file",
            "import it first: oscar-bin data build regions",
        ));
    }
    // Says what is missing.
    Ok(RegionStore::open(path)?)
}

/// The object tags and the regions of the image with this key.
///
/// # Errors
/// If there is none, or it cannot be read.
pub fn look_up(images: &SharedImages, key: &str) -> Result<(String, RegionHandle), SourceError> {
    let row = images.require(key).map_err(|defect| defect.found)?;
    let tags = images.tag_text(row)?;
    Ok((tags, RegionHandle::new(images.clone(), row)?))
}
