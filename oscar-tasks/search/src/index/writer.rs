//! Makes an index of a store.

use std::fs::File;
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::Path;

use half::f16;
use half::slice::HalfFloatSliceExt;
use oscar_core::input::RegionHandle;
use oscar_core::model::dual_encoder::Side;
use oscar_datasets::mapped::header;
use oscar_datasets::{ImageSource, SharedImages};
use oscar_files::{FileError, write_file_with};
use oscar_task::TaskError;
use oscar_task::batches::BATCHES_SORTED;
use rayon::prelude::*;
use safetensors::Dtype;

use super::{
    CHECKSUM, FORMAT_VERSION, IndexError, KEY_OFFSETS, KEYS, OF_CHECKPOINT, OF_STORE, VECTORS,
    VERSION, store_identity,
};
use crate::embed::{Embedder, Vectors};

/// What an index is of; the vectors follow.
#[derive(Clone, Copy, Debug)]
pub struct NewIndex<'a> {
    /// Keys of the pictures, in the order of the vectors.
    pub keys: &'a [String],
    /// Values of a vector.
    pub width: usize,
    /// [Identity](Embedder::identity) of the weights.
    pub checkpoint: &'a str,
    /// [Identity](store_identity) of the store.
    pub store: &'a str,
}

/// Makes the index of all pictures of `store`, as they are stored, at `out`: it appears whole or not at
/// all. `done` is called with the number of finished pictures, and of all.
///
/// # Errors
///
/// If the store is empty, has regions of another size than the weights read, or cannot be read; if a
/// vector is not finite; if the file cannot be written.
pub fn build_index(
    embedder: &dyn Embedder,
    store: &SharedImages,
    out: &Path,
    batch_size: usize,
    done: &(dyn Fn(usize, usize) + Sync),
) -> Result<(), IndexError> {
    let pictures = ImageSource::len(&**store);
    if pictures == 0 {
        return Err(IndexError::Empty {
            store: store.path().to_path_buf(),
        });
    }
    let (found, expected) = (store.region_dim(), embedder.region_dim());
    if found != expected {
        return Err(TaskError::RegionDim { found, expected }.into());
    }
    let keys: Vec<String> = (0..pictures).map(|row| store.image_key(row)).collect();
    let new = NewIndex {
        keys: &keys,
        width: embedder.width(),
        checkpoint: &embedder.identity()?,
        store: &store_identity(store).map_err(TaskError::Data)?,
    };
    let (batch_size, encoder) = (batch_size.max(1), embedder.encoder());
    new.write(out, |write| {
        let chunk = batch_size * BATCHES_SORTED;
        for start in (0..pictures).step_by(chunk) {
            let rows = start..(start + chunk).min(pictures);
            let read = rows.clone().into_par_iter().map(|row| {
                let tags = encoder.tokenizer().encode(&store.tag_text(row)?);
                let regions = RegionHandle::new(store.clone(), row)?;
                let origin = format!("{}: image {}", store.path().display(), keys[row]);
                Ok(encoder.encode_image(origin, &tags, &[regions]))
            });
            let read = read.collect::<Result<Vec<_>, oscar_core::input::SourceError>>();
            let images = read.map_err(TaskError::Data)?;
            write(&embedder.embed(Side::Image, images, batch_size)?)?;
            done(rows.end, pictures);
        }
        Ok(())
    })
}

impl NewIndex<'_> {
    /// Writes the file at `out`; `fill` gives the vectors, some at a time, to the function that it gets.
    ///
    /// # Errors
    ///
    /// Those of `fill`; if there are other vectors than keys, one is not finite, or the file cannot be
    /// written.
    pub fn write(
        &self,
        out: &Path,
        fill: impl FnOnce(&mut dyn FnMut(&Vectors) -> Result<(), IndexError>) -> Result<(), IndexError>,
    ) -> Result<(), IndexError> {
        if let Some(parent) = out.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            std::fs::create_dir_all(parent).map_err(FileError::io("create", parent))?;
        }
        write_file_with(out, |temporary| self.fill(temporary, out, fill))
    }

    fn fill(
        &self,
        temporary: &Path,
        out: &Path,
        fill: impl FnOnce(&mut dyn FnMut(&Vectors) -> Result<(), IndexError>) -> Result<(), IndexError>,
    ) -> Result<(), IndexError> {
        let io = |error| IndexError::from(FileError::io("write", out)(error));
        let (pictures, width) = (self.keys.len(), self.width);
        let offsets = self.key_offsets();
        let bytes = offsets.last().copied().unwrap_or(0) as usize;
        let start = header(
            &[
                (KEY_OFFSETS, Dtype::U64, &[pictures + 1]),
                (CHECKSUM, Dtype::U64, &[1]),
                (VECTORS, Dtype::F16, &[pictures, width]),
                (KEYS, Dtype::U8, &[bytes]),
            ],
            &[
                (FORMAT_VERSION, VERSION.to_string()),
                (OF_CHECKPOINT, self.checkpoint.to_string()),
                (OF_STORE, self.store.to_string()),
            ],
        );
        let mut hasher = crc32fast::Hasher::new();
        let mut file = BufWriter::with_capacity(1 << 20, File::create(temporary).map_err(io)?);
        file.write_all(&start).map_err(io)?;
        let offsets: Vec<u8> = offsets.iter().flat_map(|at| at.to_le_bytes()).collect();
        hasher.update(&offsets);
        file.write_all(&offsets).map_err(io)?;
        // Known when everything else is.
        file.write_all(&[0; 8]).map_err(io)?;

        let (mut written, mut row) = (0, Vec::new());
        fill(&mut |vectors| {
            if vectors.width() != width {
                return Err(IndexError::Width {
                    found: vectors.width(),
                    expected: width,
                });
            }
            for values in vectors.rows() {
                row.resize(width, f16::ZERO);
                row.convert_from_f32_slice(values);
                let key = self.keys.get(written).cloned().unwrap_or_default();
                if row.iter().any(|value| !value.is_finite()) {
                    return Err(IndexError::Vector { key });
                }
                let bytes: &[u8] = bytemuck::cast_slice(&row);
                hasher.update(bytes);
                file.write_all(bytes).map_err(io)?;
                written += 1;
            }
            Ok(())
        })?;
        if written != pictures {
            let found = format!("{written} vectors for {pictures} pictures");
            return Err(io(std::io::Error::other(found)));
        }
        for key in self.keys {
            hasher.update(key.as_bytes());
            file.write_all(key.as_bytes()).map_err(io)?;
        }
        let place = (start.len() + offsets.len()) as u64;
        file.seek(SeekFrom::Start(place)).map_err(io)?;
        let checksum = u64::from(hasher.finalize());
        file.write_all(&checksum.to_le_bytes()).map_err(io)?;
        file.flush().map_err(io)
    }

    /// Where each key begins, and where the last one ends.
    fn key_offsets(&self) -> Vec<u64> {
        let ends = self.keys.iter().scan(0, |end, key| {
            *end += key.len() as u64;
            Some(*end)
        });
        std::iter::once(0).chain(ends).collect()
    }
}
