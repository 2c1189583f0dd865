//! Reads the images of a split from a zip archive or a directory.
//!
//! File names are `SPLIT-GROUP-LETTER-PERMUTATION.png`: `dev-1373-0-0.png` is permutation 0 of the
//! image with identifier `1373-0` of split `dev`. Annotations describe permutation 0; the others
//! show the same boxes in another order and are left aside.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use image::{ImageReader, RgbImage};
use oscar_vision::drawings::{HEIGHT, WIDTH};
use zip::ZipArchive;

use oscar_datasets::mapped::map_file;
use oscar_datasets::{DatasetError, Result};

/// An image of this format takes about a kilobyte; a file this large is something else.
const MAX_FILE: u64 = 1 << 20;

const HINT: &str = "it holds the images, as a zip archive or a directory; check the path";

/// The images of one split, found by identifier.
#[derive(Clone)]
pub struct Images {
    path: PathBuf,
    split: String,
    files: Arc<BTreeMap<String, Place>>,
    archive: Option<ZipArchive<Cursor<Bytes>>>,
}

/// Where an image's file is.
#[derive(Debug)]
enum Place {
    File(PathBuf),
    Entry(usize),
}

impl Images {
    /// Lists the images in `path`, a zip archive or a directory (searched with its subdirectories).
    ///
    /// `split` picks the images whose names begin with it; without it, all must be of one split.
    ///
    /// # Errors
    /// If `path` is missing or is no archive, has no image of the split, or has two with the same
    /// identifier.
    pub fn open(path: &Path, split: Option<&str>) -> Result<Self> {
        let mut found = Vec::new();
        let archive = if path.is_dir() {
            list_dir(path, 4, &mut found)?;
            // The order of a directory is the file system's whim.
            found.sort_by(|(a, _), (b, _)| a.cmp(b));
            None
        } else {
            let archive = ZipArchive::new(Cursor::new(map_file(path, HINT)?))
                .map_err(|error| bad_archive(path, &error))?;
            for index in 0..archive.len() {
                let entry = archive
                    .name_for_index(index)
                    .unwrap_or_default()
                    .to_string();
                let name = entry.rsplit('/').next().unwrap_or_default().to_string();
                found.push((name, Place::Entry(index)));
            }
            Some(archive)
        };

        let mut files = BTreeMap::new();
        let mut of_split: Option<String> = split.map(str::to_string);
        for (name, place) in found {
            let Some((its_split, identifier)) = parse_name(&name) else {
                continue;
            };
            match &of_split {
                Some(wanted) if wanted == its_split => {}
                Some(_) if split.is_some() => continue,
                Some(first) => {
                    let found = format!("images of two splits, `{first}` and `{its_split}`");
                    return Err(DatasetError::malformed(
                        path,
                        found,
                        "say which split is meant",
                    ));
                }
                None => of_split = Some(its_split.to_string()),
            }
            if files.insert(identifier.to_string(), place).is_some() {
                let found = format!("{name} is there twice");
                return Err(DatasetError::malformed(
                    path,
                    found,
                    "remove one of the two",
                ));
            }
        }
        let Some(split) = of_split.filter(|_| !files.is_empty()) else {
            let wanted = split.unwrap_or("SPLIT");
            let found = format!("no image named {wanted}-GROUP-LETTER-0.png");
            return Err(DatasetError::malformed(
                path,
                found,
                "check path and split name",
            ));
        };
        Ok(Self {
            path: path.to_path_buf(),
            split,
            files: Arc::new(files),
            archive,
        })
    }

    /// The split: the first part of the file names.
    pub fn split(&self) -> &str {
        &self.split
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.files.len()
    }

    /// Whether there is no image; there is at least one in an opened split.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Whether there is an image with this identifier.
    pub fn contains(&self, identifier: &str) -> bool {
        self.files.contains_key(identifier)
    }

    /// Identifiers of all images, sorted by their characters.
    pub fn identifiers(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(String::as_str)
    }

    /// The archive or directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file name of image `identifier`.
    pub fn file_name(&self, identifier: &str) -> String {
        format!("{}-{identifier}-0.png", self.split)
    }

    /// The file of image `identifier`, as it is stored.
    ///
    /// # Errors
    /// If there is no such image, its file cannot be read, or has over 1 MiB.
    pub fn read_file(&mut self, identifier: &str) -> Result<Vec<u8>> {
        let name = self.file_name(identifier);
        let wrong = |found: String, fix| DatasetError::ImageFile {
            name: name.clone(),
            images: self.path.clone(),
            found,
            fix,
        };
        let mut bytes = Vec::new();
        // One byte more than allowed, to see that there is more.
        let read = match (self.files.get(identifier), &mut self.archive) {
            (Some(Place::File(file)), _) => {
                fs::File::open(file).and_then(|f| f.take(MAX_FILE + 1).read_to_end(&mut bytes))
            }
            (Some(Place::Entry(index)), Some(archive)) => match archive.by_index(*index) {
                Ok(entry) => entry.take(MAX_FILE + 1).read_to_end(&mut bytes),
                Err(error) => Err(error.into()),
            },
            _ => {
                let found = "there is no such image".to_string();
                return Err(wrong(
                    found,
                    "check that annotations and images belong together",
                ));
            }
        };
        match read {
            Err(error) => Err(wrong(
                format!("it cannot be read ({error})"),
                "copy it again",
            )),
            Ok(_) if bytes.len() as u64 > MAX_FILE => Err(wrong(
                "it is larger than 1 MiB".into(),
                "images have about 1 kB: replace it",
            )),
            Ok(_) => Ok(bytes),
        }
    }

    /// The pixels of image `identifier`, 400x100.
    ///
    /// # Errors
    /// As [`read_file`](Self::read_file), or if the file is no PNG image, or of another size.
    pub fn read(&mut self, identifier: &str) -> Result<RgbImage> {
        let bytes = self.read_file(identifier)?;
        let wrong = |found: String, fix| DatasetError::ImageFile {
            name: self.file_name(identifier),
            images: self.path.clone(),
            found,
            fix,
        };
        let reader = || ImageReader::with_format(Cursor::new(&bytes), image::ImageFormat::Png);
        let undecodable = |error: image::ImageError| {
            wrong(
                format!("it cannot be decoded as PNG ({error})"),
                "replace the file",
            )
        };
        // The size first: a huge image is refused before it is decoded.
        let (width, height) = reader().into_dimensions().map_err(undecodable)?;
        if (width, height) != (WIDTH, HEIGHT) {
            let found = format!("it has {width}x{height} pixels, not {WIDTH}x{HEIGHT}");
            return Err(wrong(
                found,
                "give an image of NLVR v1 in its original size",
            ));
        }
        Ok(reader().decode().map_err(undecodable)?.into_rgb8())
    }
}

/// Split and identifier of a file name, if it is a permutation 0.
fn parse_name(name: &str) -> Option<(&str, &str)> {
    let (split, identifier) = name.strip_suffix("-0.png")?.split_once('-')?;
    let (group, letter) = identifier.split_once('-')?;
    let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    (!split.is_empty() && digits(group) && digits(letter)).then_some((split, identifier))
}

fn list_dir(dir: &Path, depth: usize, found: &mut Vec<(String, Place)>) -> Result<()> {
    for entry in fs::read_dir(dir).map_err(DatasetError::io("list", dir))? {
        let path = entry.map_err(DatasetError::io("list", dir))?.path();
        if path.is_dir() {
            // Upstream keeps images in numbered subdirectories; deeper than this is a loop.
            if depth > 0 {
                list_dir(&path, depth - 1, found)?;
            }
        } else if let Some(name) = path.file_name().and_then(|name| name.to_str()) {
            found.push((name.to_string(), Place::File(path)));
        }
    }
    Ok(())
}

fn bad_archive(path: &Path, error: &zip::result::ZipError) -> DatasetError {
    let found = format!("not a whole zip archive ({error})");
    DatasetError::malformed(
        path,
        found,
        "copy it again, or unpack it and give the directory",
    )
}
