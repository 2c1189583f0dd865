//! Pictures of images, found by key: in a directory, a zip archive, or a table.

use std::collections::HashMap;
use std::fs;
use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};

use base64_simd::STANDARD;
use bytes::Bytes;
use oscar_files::{Budget, is_system_file, open_regular};
use oscar_vision::drawings::{crop_to_key, parse_box_key};
use oscar_vision::{Picture, PictureLimits, VisionError, picture};
use zip::ZipArchive;

use crate::error::{DatasetError, Result};
use crate::mapped::map_file;
use crate::tsv::TsvFile;

/// A larger file is not a picture that anything was detected in: 256 MiB.
const MAX_FILE: u64 = 1 << 28;

/// Bytes of memory that a byte of an archive's entry may take, beyond the base.
const FACTOR: u64 = 8;

/// How deep directories are searched; deeper than this is a loop of links.
const DEPTH: usize = 4;

const HINT: &str = "it holds pictures: a directory, a zip archive, or a table; check the path";

/// Pictures of many images, each a file or a row of a table.
pub struct Pictures {
    path: PathBuf,
    /// Names of files without their directories; keys of a table's rows.
    names: Vec<String>,
    place: Place,
    index: Index,
}

/// Where the pictures are.
enum Place {
    /// Files, in the order of the names.
    Files(Vec<PathBuf>),
    /// Entries of an archive, by their index in it, in the order of the names.
    Archive(ZipArchive<Cursor<Bytes>>, Vec<usize>),
    /// Rows of a table: a key, …, a picture in base64.
    Table(TsvFile),
}

/// Pictures by what a key may say of them.
#[derive(Default)]
struct Index {
    names: HashMap<String, Vec<usize>>,
    stems: HashMap<String, Vec<usize>>,
    /// By the number that the stem ends in.
    numbers: HashMap<u64, Vec<usize>>,
}

impl Pictures {
    /// Opens a directory (searched with its subdirectories), a zip archive, or a table whose rows
    /// end in a picture in base64. Files of a directory are in order of their paths, others in
    /// that of the archive or table.
    ///
    /// # Errors
    /// If `path` is missing or is none of these.
    pub fn open(path: &Path) -> Result<Self> {
        let (names, place) = match path.is_dir() {
            true => list_directory(path)?,
            false => {
                let map = map_file(path, HINT)?;
                match map.starts_with(b"PK") {
                    true => list_archive(path, map)?,
                    false => list_table(path)?,
                }
            }
        };
        let mut index = Index::default();
        for (at, name) in names.iter().enumerate() {
            index.names.entry(name.clone()).or_default().push(at);
            if let Place::Table(_) = place {
                continue;
            }
            let stem = stem(name);
            index.stems.entry(stem.into()).or_default().push(at);
            if let Some(number) = number_at_end(stem) {
                index.numbers.entry(number).or_default().push(at);
            }
        }
        Ok(Self {
            path: path.to_path_buf(),
            names,
            place,
            index,
        })
    }

    /// The directory, archive or table.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Number of pictures.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether there is no picture.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// File name of picture `at`, without its directory; its key in a table.
    pub fn name(&self, at: usize) -> &str {
        &self.names[at]
    }

    /// The key of picture `at`: its name without the ending of a picture.
    pub fn key(&self, at: usize) -> &str {
        stem(&self.names[at])
    }

    /// The files that hold the pictures.
    pub fn files(&self) -> Vec<PathBuf> {
        match &self.place {
            Place::Files(files) => files.clone(),
            _ => vec![self.path.clone()],
        }
    }

    /// Where picture `at` is, for messages: `a.jpg in pictures.zip`, `train.tsv:17`.
    pub fn origin(&self, at: usize) -> String {
        match &self.place {
            Place::Table(table) => table.origin(at),
            _ => format!("{} in {}", self.names[at], self.path.display()),
        }
    }

    /// The picture file of picture `at`, not decoded.
    ///
    /// # Errors
    /// If it cannot be read, or has over 256 MiB.
    pub fn bytes(&self, at: usize) -> Result<Vec<u8>> {
        let damaged = |found: String| DatasetError::ImageFile {
            name: self.names[at].clone(),
            images: self.path.clone(),
            found,
            fix: "copy it again",
        };
        let (mut bytes, mut limit) = (Vec::new(), MAX_FILE);
        // One byte more than allowed, to see that there is more.
        match &self.place {
            Place::Files(files) => open_regular(&files[at])?
                .0
                .take(MAX_FILE + 1)
                .read_to_end(&mut bytes)
                .map_err(DatasetError::io("read", &files[at]))?,
            Place::Archive(archive, entries) => archive
                // A copy shares the directory, and has a position of its own.
                .clone()
                .by_index(entries[at])
                .map_err(std::io::Error::from)
                .and_then(|entry| {
                    // A picture is compressed already: an entry that expands far is none.
                    let budget = Budget::of_file(entry.compressed_size(), FACTOR);
                    limit = limit.min(budget.left());
                    entry.take(limit + 1).read_to_end(&mut bytes)
                })
                .map_err(|error| damaged(format!("it cannot be read ({error})")))?,
            Place::Table(table) => {
                let [_, text] = table.first_and_last(at)?;
                bytes = decode_base64(text)
                    .map_err(|found| table.wrong(at, found, "copy the file again"))?;
                bytes.len()
            }
        };
        match bytes.len() as u64 > limit {
            true => Err(damaged(format!("it has over {} MiB", limit >> 20))),
            false => Ok(bytes),
        }
    }

    /// Picture `at`, decoded.
    ///
    /// # Errors
    /// As [`bytes`](Self::bytes); a file that is not a picture, or is too large.
    pub fn picture(&self, at: usize) -> Result<Picture> {
        let bytes = self.bytes(at)?;
        let picture = Picture::decode(self.origin(at), &bytes, PictureLimits::default());
        Ok(picture?)
    }

    /// The picture of image `key`, cut to the part that the key names; `None` if there is none.
    ///
    /// A file belongs to a key if its name is the key, with or without its ending; if it is a
    /// drawing of NLVR v1 of which the key names a grey box; or if the key is a number and the only
    /// one that the name ends in, as in `COCO_val2014_000000124629.jpg`. A row of a table belongs
    /// to its own key alone.
    ///
    /// # Errors
    /// If several files belong to the key, or its file cannot be read or decoded.
    pub fn find(&self, key: &str) -> Result<Option<Picture>> {
        let mut at = self.position(key)?;
        if at.is_none()
            && let Some((drawing, _)) = parse_box_key(key)
        {
            at = self.position(drawing)?;
        }
        at.map(|at| Ok(crop_to_key(self.picture(at)?, key)))
            .transpose()
    }

    /// The picture that belongs to `key` by the closest of the rules.
    fn position(&self, key: &str) -> Result<Option<usize>> {
        let Index {
            names,
            stems,
            numbers,
        } = &self.index;
        let number = number_at_end(key).filter(|_| key.bytes().all(|b| b.is_ascii_digit()));
        let rules = [
            names.get(key),
            stems.get(key),
            stems.get(stem(key)),
            stems.get(&format!("{key}-0")),
            number.and_then(|number| numbers.get(&number)),
        ];
        match rules.into_iter().flatten().next().map(Vec::as_slice) {
            None => Ok(None),
            Some([at]) => Ok(Some(*at)),
            // Of rows with one key the first counts, as for every table.
            Some([at, ..]) if matches!(self.place, Place::Table(_)) => Ok(Some(*at)),
            Some(found) => {
                let found = format!(
                    "both {} and {} could be the picture of image `{key}`",
                    self.names[found[0]], self.names[found[1]]
                );
                let fix = "choose one of them, or rename the other";
                Err(DatasetError::malformed(&self.path, found, fix))
            }
        }
    }
}

fn list_directory(path: &Path) -> Result<(Vec<String>, Place)> {
    let mut files = Vec::new();
    list(path, DEPTH, &mut files)?;
    // The order of a directory is the file system's whim.
    files.sort();
    let names = files
        .iter()
        .map(|file| file_name(&file.to_string_lossy()).into());
    Ok((names.collect(), Place::Files(files)))
}

fn list(dir: &Path, depth: usize, found: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(dir).map_err(DatasetError::io("list", dir))? {
        let path = entry.map_err(DatasetError::io("list", dir))?.path();
        if is_system_file(file_name(&path.to_string_lossy())) {
            continue;
        }
        if path.is_dir() {
            if depth > 0 {
                list(&path, depth - 1, found)?;
            }
        } else if is_picture(&path.to_string_lossy()) {
            found.push(path);
        }
    }
    Ok(())
}

fn list_archive(path: &Path, map: Bytes) -> Result<(Vec<String>, Place)> {
    let archive = ZipArchive::new(Cursor::new(map)).map_err(|error| {
        let found = format!("not a whole zip archive ({error})");
        DatasetError::malformed(path, found, "copy it again, or unpack it")
    })?;
    let all = (0..archive.len()).filter_map(|i| Some((archive.name_for_index(i)?, i)));
    let (names, entries) = all
        .filter(|(name, _)| is_picture(name) && !name.split('/').any(is_system_file))
        .map(|(name, i)| (file_name(name).to_string(), i))
        .unzip();
    Ok((names, Place::Archive(archive, entries)))
}

fn list_table(path: &Path) -> Result<(Vec<String>, Place)> {
    let table = TsvFile::open(path)?;
    let keys = (0..table.len()).map(|row| Ok(table.first_field(row)?.to_string()));
    Ok((keys.collect::<Result<_>>()?, Place::Table(table)))
}

/// Reads and decodes the picture file at `path`.
///
/// # Errors
/// If it cannot be read or decoded.
pub fn read_picture(path: &Path) -> Result<Picture> {
    let mut bytes = Vec::new();
    open_regular(path)?
        .0
        .take(MAX_FILE)
        .read_to_end(&mut bytes)
        .map_err(DatasetError::io("read", path))?;
    let origin = path.display().to_string();
    Ok(Picture::decode(origin, &bytes, PictureLimits::default())?)
}

/// Width and height of the picture in a field of a table, which is decoded whole.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn picture_size(text: &str) -> Result<(u32, u32), String> {
    let bytes = decode_base64(text)?;
    match Picture::decode("", &bytes, PictureLimits::default()) {
        Ok(picture) => Ok(picture.image.dimensions()),
        Err(VisionError::Picture { found, .. }) => Err(found),
        Err(error) => Err(error.to_string()),
    }
}

/// The picture file in a field of a table.
fn decode_base64(text: &str) -> Result<Vec<u8>, String> {
    STANDARD
        .decode_to_vec(text)
        .map_err(|error| format!("the picture is not base64 ({error})"))
}

fn file_name(path: &str) -> &str {
    path.rsplit(['/', std::path::MAIN_SEPARATOR])
        .next()
        .unwrap_or(path)
}

/// A name without the ending of a picture.
fn stem(name: &str) -> &str {
    match name.rsplit_once('.') {
        Some((stem, _)) if is_picture(name) => stem,
        _ => name,
    }
}

/// Endings of pictures that are not read: they are listed, so that they are named instead of passed over.
const NOT_READ: [&str; 2] = ["heic", "heif"];

/// Whether a file of this name is a picture, by its ending.
pub(crate) fn is_picture(name: &str) -> bool {
    name.rsplit_once('.').is_some_and(|(_, ending)| {
        picture::ENDINGS
            .iter()
            .chain(&NOT_READ)
            .any(|e| ending.eq_ignore_ascii_case(e))
    })
}

/// The number in the digits at the end of a text.
fn number_at_end(text: &str) -> Option<u64> {
    let digits = text.bytes().rev().take_while(u8::is_ascii_digit).count();
    text[text.len() - digits..].parse().ok()
}
