//! What a corpus needs to know of images, wherever their regions come from.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use oscar_core::input::{RegionHandle, RegionSource, SourceError};

use crate::error::{DatasetError, Result};
use crate::findings::{Defect, Kind};
use crate::keys::{self, Other, find_otherwise};
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

    /// Keys that stand beside `key` in alphabetical order, to show how keys are spelt here; none
    /// where that would cost time.
    fn examples(&self, _key: &str) -> Vec<String> {
        Vec::new()
    }

    /// The row of the image that is called `key`, here or in the other files of its data set: see
    /// [`keys`].
    ///
    /// # Errors
    /// If there is none, or more than one.
    fn require(&self, key: &str) -> Result<usize, Defect> {
        if let Some(row) = self.find(key) {
            return Ok(row);
        }
        match find_otherwise(key, |other| self.find(other)) {
            Other::One(row, spelling) => {
                keys::tell(self.path(), key, &spelling);
                Ok(row)
            }
            Other::Several(first, second) => {
                let path = self.path().display();
                let found = format!("image `{key}` is `{first}` or `{second}` in {path}");
                Err(Defect::of(Kind::UnknownImage, found).fix("name one of them"))
            }
            Other::None => Err(unknown_image(self.path(), key, &self.examples(key))),
        }
    }

    /// The classes of the objects in image `row`, joined by single spaces, in file order; empty
    /// if the source has none.
    ///
    /// # Errors
    /// If they cannot be read.
    fn tag_text(&self, row: usize) -> Result<String>;

    /// The file or directory, for messages.
    fn path(&self) -> &Path;

    /// Name of the extractor that found the regions in pictures, where the source names it.
    fn extractor(&self) -> Option<&str> {
        None
    }
}

/// The defect of a row about an image that is not at `path`, whose keys are such as `examples`.
pub(crate) fn unknown_image(path: &Path, key: &str, examples: &[String]) -> Defect {
    let mut found = format!("image `{}` is not in {}", short(key), path.display());
    if !examples.is_empty() {
        let quoted = |key: &String| format!("`{}`", short(key));
        let examples: Vec<String> = examples.iter().map(quoted).collect();
        found += &format!(", whose keys are such as {}", examples.join(", "));
    }
    Defect::of(Kind::UnknownImage, found).fix("name images alike in both, or add its regions")
}

/// The beginning of a key, which a file may make as long as it likes.
fn short(key: &str) -> String {
    const SHOWN: usize = 200;
    match key.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &key[..end]),
        None => key.into(),
    }
}

/// Images shared between the rows of a corpus and the threads that read them.
pub type SharedImages = Arc<dyn ImageSource>;

/// Where images are, and how they are viewed: a path that may end in a query, as in a URL.
///
/// ```
/// use oscar_datasets::ImagesAt;
///
/// let images: ImagesAt = "dev/regions?noise=0.2&swap=1".parse()?;
/// assert_eq!(images.path, std::path::Path::new("dev/regions"));
/// assert_eq!(images.to_string(), "dev/regions?swap=1&noise=0.2");
/// # Ok::<(), oscar_datasets::DatasetError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct ImagesAt {
    /// The region store, or official feature files.
    pub path: PathBuf,
    /// Changes made to the images as they are read; none by default.
    pub view: View,
}

impl ImagesAt {
    /// Reads a path with an optional query. What follows the last `?` is the query, unless a file
    /// or directory has the whole name.
    ///
    /// # Errors
    /// An unknown key of the query, or a value that is not one of its values.
    pub fn of(path: &Path) -> Result<Self> {
        let split = path.to_str().and_then(|text| text.rsplit_once('?'));
        match split.filter(|_| !path.exists()) {
            None => Ok(Self {
                path: path.to_path_buf(),
                view: View::default(),
            }),
            Some((plain, query)) => Ok(Self {
                path: plain.into(),
                view: query.parse().map_err(|found: String| {
                    DatasetError::malformed(path, found, crate::view::FIX)
                })?,
            }),
        }
    }

    /// Opens the images, as [`open_images`] does.
    ///
    /// # Errors
    /// If there are none at the path, or they cannot be read.
    pub fn open(&self) -> Result<SharedImages> {
        let images = open_plain(&self.path)?;
        match self.view == View::default() {
            true => Ok(images),
            false => self.view.apply(images, &self.to_path()),
        }
    }

    /// The path with its query, which [`of`](Self::of) reads back.
    pub fn to_path(&self) -> PathBuf {
        let mut path = self.path.clone().into_os_string();
        path.push(self.view.to_string());
        path.into()
    }
}

impl FromStr for ImagesAt {
    type Err = DatasetError;

    fn from_str(text: &str) -> Result<Self> {
        Self::of(Path::new(text))
    }
}

impl fmt::Display for ImagesAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.path.display(), self.view)
    }
}

/// Opens the images at `path`: a region store; or official feature files, which are decoded as
/// they are read: a `features.tsv`, its folder, a folder of chunks, or the YAML file that names them.
/// The path may carry a query that changes how they are viewed, for experiments: see
/// [`crate::view`].
///
/// # Errors
/// If there is neither, or it cannot be read.
pub fn open_images(path: &Path) -> Result<SharedImages> {
    ImagesAt::of(path)?.open()
}

fn open_plain(path: &Path) -> Result<SharedImages> {
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
    // The error names the missing file.
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
