//! The pictures that arguments name: files, folders, zip archives.

use std::path::PathBuf;
use std::sync::Arc;

use oscar_datasets::DatasetError;
use oscar_datasets::pictures::{Pictures, read_picture};
use oscar_vision::Picture;

/// The pictures that arguments name.
pub struct Listing {
    /// In the order of the arguments.
    pub pictures: Vec<Listed>,
    /// Whether they may be several: whether an argument is a folder, or there is more than one.
    pub several: bool,
    /// Arguments that name none, and why.
    pub errors: Vec<String>,
}

/// A picture that is not read yet.
pub struct Listed {
    /// As the user finds it.
    pub name: String,
    place: Place,
}

enum Place {
    File(PathBuf),
    In(Arc<Pictures>, usize),
}

impl Listed {
    /// The files that it is read from, or one of which it is.
    pub fn files(&self) -> Vec<PathBuf> {
        match &self.place {
            Place::File(path) => vec![path.clone()],
            Place::In(pictures, _) => pictures.files(),
        }
    }

    /// Reads and decodes it.
    ///
    /// # Errors
    /// If it cannot be read, or is not a picture.
    pub fn read(&self) -> Result<Picture, DatasetError> {
        match &self.place {
            Place::File(path) => read_picture(path),
            Place::In(pictures, at) => pictures.picture(*at),
        }
    }
}

/// Lists the pictures of `paths`; none is decoded.
pub fn list(paths: &[PathBuf]) -> Listing {
    let mut listing = Listing {
        pictures: Vec::new(),
        several: paths.len() > 1,
        errors: Vec::new(),
    };
    for path in paths {
        let archive = path
            .extension()
            .is_some_and(|e| e.eq_ignore_ascii_case("zip"));
        if !path.is_dir() && !archive {
            listing.pictures.push(Listed {
                name: path.display().to_string(),
                place: Place::File(path.clone()),
            });
            continue;
        }
        listing.several = true;
        match Pictures::open(path) {
            Ok(pictures) if pictures.is_empty() => {
                listing
                    .errors
                    .push(format!("{}: there is no picture in it", path.display()));
            }
            Ok(pictures) => {
                let pictures = Arc::new(pictures);
                let files = pictures.files();
                // Of a folder with subfolders a name alone may occur twice.
                let name = |at: usize| match files.get(at).and_then(|f| f.strip_prefix(path).ok()) {
                    Some(inside) if !archive => inside.display().to_string(),
                    _ => pictures.name(at).to_string(),
                };
                listing
                    .pictures
                    .extend((0..pictures.len()).map(|at| Listed {
                        name: name(at),
                        place: Place::In(pictures.clone(), at),
                    }));
            }
            Err(error) => listing.errors.push(error.to_string()),
        }
    }
    listing
}
