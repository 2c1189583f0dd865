//! Finds and decodes the picture of an image: in a directory, an archive, or a table.

use std::fs;
use std::io::{self, Cursor, Read};
use std::path::{Path, PathBuf};

use base64_simd::STANDARD;
use image::{ImageReader, RgbImage, imageops};
use oscar_vision::drawings::{BOX_SIZE, BOX_X, HEIGHT, WIDTH, parse_box_key};
use zip::ZipArchive;

use crate::error::{DatasetError, Result};
use crate::tsv::TsvFile;

/// A larger file is no picture that anything was detected in.
const MAX_FILE: u64 = 1 << 28;

/// How deep directories are searched; deeper than this is a loop.
const DEPTH: usize = 4;

const FIX: &str = "give a PNG or JPEG picture";

const ENDINGS: [&str; 3] = ["jpg", "jpeg", "png"];

/// A decoded picture.
#[derive(Clone, Debug)]
pub struct Picture {
    /// Its pixels.
    pub image: RgbImage,
    /// Where it was found, for messages.
    pub origin: String,
}

impl Picture {
    /// Decodes the picture in the file `path`, PNG or JPEG.
    ///
    /// # Errors
    /// If it cannot be read or decoded.
    pub fn read(path: &Path) -> Result<Self> {
        let image = fs::File::open(path)
            .and_then(read_all)
            .map_err(DatasetError::io("read", path))
            .and_then(|bytes| {
                decode(&bytes).map_err(|found| DatasetError::malformed(path, found, FIX))
            })?;
        let origin = path.display().to_string();
        Ok(Self { image, origin })
    }

    /// The grey box that `key` names, if this is a drawing of NLVR v1; else the whole picture.
    #[must_use]
    pub fn part_of(self, key: &str) -> Self {
        match parse_box_key(key) {
            Some((_, grey_box)) if self.image.dimensions() == (WIDTH, HEIGHT) => {
                let left = BOX_X[grey_box];
                let cut = imageops::crop_imm(&self.image, left, 0, BOX_SIZE, BOX_SIZE);
                Self {
                    image: cut.to_image(),
                    origin: format!("box {grey_box} of {}", self.origin),
                }
            }
            _ => self,
        }
    }
}

/// Pictures of many images, found by key.
///
/// A file belongs to a key if its name is the key, with or without its ending; if it is a drawing
/// of NLVR v1 of which the key names a grey box; or if the key is a number and the only one that
/// the name ends in, as in `COCO_val2014_000000124629.jpg`.
pub struct Pictures {
    path: PathBuf,
    names: Vec<String>,
    place: Place,
}

/// Where the pictures are.
enum Place {
    /// Files, in the order of the names.
    Files(Vec<PathBuf>),
    /// Entries of an archive, by their index in it, in the order of the names.
    Archive(Box<ZipArchive<fs::File>>, Vec<usize>),
    /// Rows of a table: a key, …, a picture in base64.
    Table(TsvFile),
}

impl Pictures {
    /// Opens a directory (searched with its subdirectories), a zip archive, or a table whose rows
    /// end in a picture in base64.
    ///
    /// # Errors
    /// If `path` is missing or is none of these.
    pub fn open(path: &Path) -> Result<Self> {
        let (names, place) = if path.is_dir() {
            let mut files = Vec::new();
            list(path, DEPTH, &mut files)?;
            // The order of a directory is the file system's whim.
            files.sort();
            let names = files
                .iter()
                .map(|file| file_name(&file.to_string_lossy()).into());
            (names.collect(), Place::Files(files))
        } else {
            let mut start = [0; 2];
            let read = fs::File::open(path).and_then(|mut file| file.read(&mut start));
            read.map_err(DatasetError::io("read", path))?;
            match &start {
                b"PK" => list_archive(path)?,
                _ => (Vec::new(), Place::Table(TsvFile::open(path)?)),
            }
        };
        Ok(Self {
            path: path.to_path_buf(),
            names,
            place,
        })
    }

    /// The picture of image `key`, cut to the part that the key names; none if no file belongs to
    /// it.
    ///
    /// # Errors
    /// If several files belong to the key, or its file cannot be read or decoded.
    pub fn find(&mut self, key: &str) -> Result<Option<Picture>> {
        if let Place::Table(table) = &self.place {
            return find_in_table(table, key);
        }
        let whole = parse_box_key(key).map(|(drawing, _)| drawing);
        let found = match (self.candidate(key)?, whole) {
            (None, Some(drawing)) => self.candidate(drawing)?,
            (found, _) => found,
        };
        let Some(at) = found else {
            return Ok(None);
        };
        let read = match &mut self.place {
            Place::Files(files) => fs::File::open(&files[at]).and_then(read_all),
            Place::Archive(archive, entries) => match archive.by_index(entries[at]) {
                Ok(entry) => read_all(entry),
                Err(error) => Err(error.into()),
            },
            Place::Table(_) => Ok(Vec::new()),
        };
        let name = &self.names[at];
        let image = read
            .map_err(|error| format!("it cannot be read ({error})"))
            .and_then(|bytes| decode(&bytes))
            .map_err(|found| DatasetError::ImageFile {
                name: name.clone(),
                images: self.path.clone(),
                found,
                fix: FIX,
            })?;
        let origin = format!("{name} in {}", self.path.display());
        Ok(Some(Picture { image, origin }.part_of(key)))
    }

    /// The file that belongs to `key` by the closest of the rules.
    fn candidate(&self, key: &str) -> Result<Option<usize>> {
        let drawing = format!("{key}-0");
        let number = match key.bytes().all(|b| b.is_ascii_digit()) {
            true => number_at_end(key),
            false => None,
        };
        let rules: [&dyn Fn(&str) -> bool; 4] = [
            &|name| name == key,
            &|name| stem(name) == key || (is_picture(key) && stem(name) == stem(key)),
            &|name| stem(name) == drawing,
            &|name| number.is_some() && number_at_end(stem(name)) == number,
        ];
        for rule in rules {
            let mut found = (0..self.names.len()).filter(|at| rule(&self.names[*at]));
            match (found.next(), found.next()) {
                (None, _) => {}
                (Some(at), None) => return Ok(Some(at)),
                (Some(at), Some(other)) => {
                    let found = format!(
                        "both {} and {} could be the picture of image `{key}`",
                        self.names[at], self.names[other]
                    );
                    let fix = "name the picture that is meant";
                    return Err(DatasetError::malformed(&self.path, found, fix));
                }
            }
        }
        Ok(None)
    }
}

fn list_archive(path: &Path) -> Result<(Vec<String>, Place)> {
    let file = fs::File::open(path).map_err(DatasetError::io("open", path))?;
    let archive = ZipArchive::new(file).map_err(|error| {
        let found = format!("not a whole zip archive ({error})");
        DatasetError::malformed(path, found, "copy it again, or unpack it")
    })?;
    let all = (0..archive.len()).filter_map(|i| Some((archive.name_for_index(i)?, i)));
    let (names, entries) = all
        .filter(|(name, _)| is_picture(name))
        .map(|(name, i)| (file_name(name).to_string(), i))
        .unzip();
    Ok((names, Place::Archive(Box::new(archive), entries)))
}

fn list(dir: &Path, depth: usize, found: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(dir).map_err(DatasetError::io("list", dir))? {
        let path = entry.map_err(DatasetError::io("list", dir))?.path();
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

fn find_in_table(table: &TsvFile, key: &str) -> Result<Option<Picture>> {
    for row in 0..table.len() {
        let [its_key, content] = table.first_and_last(row)?;
        if its_key != key {
            continue;
        }
        let image = decode_base64(content)
            .map_err(|found| table.wrong(row, found, "the file is damaged: copy it again"))?;
        let origin = table.origin(row);
        return Ok(Some(Picture { image, origin }));
    }
    Ok(None)
}

/// The picture in a field of a table.
pub(crate) fn decode_base64(text: &str) -> Result<RgbImage, String> {
    let bytes = STANDARD
        .decode_to_vec(text)
        .map_err(|error| format!("the picture is not base64 ({error})"))?;
    decode(&bytes)
}

fn decode(bytes: &[u8]) -> Result<RgbImage, String> {
    ImageReader::new(Cursor::new(bytes))
        .with_guessed_format()
        .map_err(Into::into)
        .and_then(ImageReader::decode)
        .map(|image| image.into_rgb8())
        .map_err(|error| format!("not a PNG or JPEG picture ({error})"))
}

fn read_all(file: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(MAX_FILE).read_to_end(&mut bytes)?;
    Ok(bytes)
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

fn is_picture(name: &str) -> bool {
    name.rsplit_once('.')
        .is_some_and(|(_, ending)| ENDINGS.iter().any(|e| ending.eq_ignore_ascii_case(e)))
}

/// The number in the digits at the end of a text.
fn number_at_end(text: &str) -> Option<u64> {
    let digits = text.bytes().rev().take_while(u8::is_ascii_digit).count();
    text[text.len() - digits..].parse().ok()
}
