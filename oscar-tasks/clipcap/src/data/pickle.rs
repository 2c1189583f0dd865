//! The pickle that the official preprocessing writes: embeddings, and the captions of each.
//!
//! `{"clip_embedding": tensor [rows, values], "captions": [{"image_id", "caption", "clip_embedding": row},
//! ..]}`, by `pickle.dump`. Nothing in it is executed; the embeddings stay in the memory map.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use oscar_core::input::{BOX_VALUES, RegionSource, SourceError};
use oscar_datasets::{DatasetError, ImageSource};
use oscar_files::pytorch::{Dict, Dtype, TorchFile, TorchTensor, Value};

const EMBEDDINGS: &str = "clip_embedding";
const CAPTIONS: &str = "captions";

const FIX: &str = "give a file of the official parse_coco.py or parse_conceptual.py: a dictionary of \
                   `clip_embedding`, a tensor, and `captions`, a list";

/// Where the one region of a picture is: x1/W, y1/H, x2/W, y2/H, w/W, h/H.
const WHOLE: [f32; BOX_VALUES] = [0.0, 0.0, 1.0, 1.0, 1.0, 1.0];

/// A caption of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PickledCaption {
    /// The image, as the annotations name it; the number of the caption if they do not.
    pub image: String,
    /// Its text.
    pub caption: String,
    /// The row of its embedding.
    pub row: usize,
}

/// The embeddings of the file, as images of one region each: all of the picture.
#[derive(Debug)]
pub struct PickledEmbeddings {
    path: PathBuf,
    rows: usize,
    values: usize,
    dtype: Dtype,
    bytes: bytes::Bytes,
}

/// Whether `path` begins as a pickle of Python 3 does.
pub fn is_pickle(path: &Path) -> bool {
    use std::io::Read;
    let mut start = [0; 2];
    let file = oscar_files::open_regular(path);
    let read = file.is_ok_and(|(mut file, _)| file.read_exact(&mut start).is_ok());
    read && matches!(start, [0x80, 2..=5])
}

/// Opens the file: its embeddings and its captions.
///
/// # Errors
///
/// If it cannot be read, names a class that such a file does not need, or has another form; a caption
/// whose embedding is not there.
pub fn open(path: &Path) -> Result<(PickledEmbeddings, Vec<PickledCaption>), DatasetError> {
    let wrong = |found: String| DatasetError::malformed(path, found, FIX);
    let file = TorchFile::open(path).map_err(|error| wrong(error.to_string()))?;
    let dict = file.value().as_dict();
    let dict = dict.ok_or_else(|| wrong(format!("it holds a {}", file.value().type_name())))?;
    let get = |key: &str| {
        dict.get(key)
            .ok_or_else(|| wrong(format!("it has no `{key}`")))
    };
    let tensor = get(EMBEDDINGS)?;
    let tensor = tensor
        .as_tensor()
        .ok_or_else(|| wrong(format!("`{EMBEDDINGS}` is a {}", tensor.type_name())))?;
    let embeddings = PickledEmbeddings::new(path, tensor).map_err(wrong)?;
    let list = get(CAPTIONS)?;
    let list = list
        .as_slice()
        .ok_or_else(|| wrong(format!("`{CAPTIONS}` is a {}", list.type_name())))?;
    let captions = list.iter().enumerate().map(|(number, value)| {
        let caption = caption(number, value, embeddings.rows);
        caption.map_err(|found| wrong(format!("caption {}: {found}", number + 1)))
    });
    let mut captions: Vec<PickledCaption> = captions.collect::<Result<_, _>>()?;
    mend(path, &mut captions, embeddings.rows)?;
    Ok((embeddings, captions))
}

fn caption(number: usize, value: &Value, rows: usize) -> Result<PickledCaption, String> {
    let fields = value.as_dict();
    let fields = fields.ok_or_else(|| format!("a {} instead of a dict", value.type_name()))?;
    let text = fields.get("caption").and_then(Value::as_str);
    let text = text.ok_or("it has no text `caption`")?;
    let row = fields.get(EMBEDDINGS).and_then(Value::as_i64);
    let row = row.ok_or(format!("it has no number `{EMBEDDINGS}`"))?;
    let inside = usize::try_from(row).ok().filter(|row| *row < rows);
    Ok(PickledCaption {
        image: image(fields).unwrap_or_else(|| number.to_string()),
        caption: text.into(),
        row: inside.ok_or(format!("its embedding is {row}, but there are {rows}"))?,
    })
}

fn image(fields: &Dict) -> Option<String> {
    match fields.get("image_id")? {
        Value::Str(key) => Some(key.to_string()),
        Value::Int(key) => Some(key.to_string()),
        _ => None,
    }
}

/// `parse_conceptual.py` counts the rows of its second split from 0 again, though the file holds both:
/// it gives captions the embeddings of other pictures. Where a row is named twice and there are as many
/// rows as captions, each caption gets the row of its own number, and images of the same name are told
/// apart.
fn mend(path: &Path, captions: &mut [PickledCaption], rows: usize) -> Result<(), DatasetError> {
    let mut seen = HashSet::new();
    let Some(twice) = captions
        .iter()
        .position(|caption| !seen.insert(caption.row))
    else {
        return Ok(());
    };
    if rows != captions.len() {
        let found = format!(
            "caption {} has embedding {} like one before it, and there are {rows} embeddings for {} \
             captions: which belong together is not known",
            twice + 1,
            captions[twice].row,
            captions.len()
        );
        let fix = "compute the embeddings again, from the pictures";
        return Err(DatasetError::malformed(path, found, fix));
    }
    tracing::warn!(
        "{}: caption {} has the embedding of another picture, as parse_conceptual.py numbers them; \
         each caption gets the embedding of its own row instead",
        path.display(),
        twice + 1
    );
    for (number, caption) in captions.iter_mut().enumerate() {
        caption.row = number;
        if number < twice {
            caption.image = format!("first/{}", caption.image);
        }
    }
    Ok(())
}

impl PickledEmbeddings {
    fn new(path: &Path, tensor: &TorchTensor) -> Result<Self, String> {
        let [rows, values] = tensor.shape()[..] else {
            return Err(format!(
                "`{EMBEDDINGS}` has shape {:?}, but [embeddings, values] is expected",
                tensor.shape()
            ));
        };
        if !matches!(tensor.dtype(), Dtype::F16 | Dtype::F32) {
            return Err(format!(
                "`{EMBEDDINGS}` has type {:?}, but F16 or F32 is expected",
                tensor.dtype()
            ));
        }
        Ok(Self {
            path: path.into(),
            rows,
            values,
            dtype: tensor.dtype(),
            bytes: tensor.to_bytes().map_err(|error| error.to_string())?,
        })
    }

    /// Values of an embedding.
    pub fn dim(&self) -> usize {
        self.values
    }

    /// The embedding in row `row`.
    pub fn embedding(&self, row: usize) -> Vec<f32> {
        let size = self.dtype.bitsize() / 8 * self.values;
        let bytes = &self.bytes[row * size..(row + 1) * size];
        match self.dtype {
            Dtype::F16 => {
                let values = bytes.as_chunks::<2>().0.iter();
                values
                    .map(|value| half::f16::from_le_bytes(*value).to_f32())
                    .collect()
            }
            _ => {
                let values = bytes.as_chunks::<4>().0.iter();
                values.map(|value| f32::from_le_bytes(*value)).collect()
            }
        }
    }
}

impl RegionSource for PickledEmbeddings {
    fn region_dim(&self) -> usize {
        self.values + BOX_VALUES
    }

    fn num_regions(&self, _row: usize) -> Result<usize, SourceError> {
        Ok(1)
    }

    fn copy_regions(&self, row: usize, out: &mut [f32]) -> Result<(), SourceError> {
        let embedding = self.embedding(row);
        if let Some(at) = embedding.iter().position(|value| !value.is_finite()) {
            let path = self.path.display();
            return Err(format!("{path}: embedding {row} holds {} at {at}", embedding[at]).into());
        }
        for region in out.chunks_exact_mut(self.region_dim()) {
            region[..self.values].copy_from_slice(&embedding);
            region[self.values..].copy_from_slice(&WHOLE);
        }
        Ok(())
    }
}

impl ImageSource for PickledEmbeddings {
    fn len(&self) -> usize {
        self.rows
    }

    /// Embeddings are found by their rows.
    fn find(&self, key: &str) -> Option<usize> {
        key.parse().ok().filter(|row| *row < self.rows)
    }

    fn tag_text(&self, _row: usize) -> oscar_datasets::Result<String> {
        Ok(String::new())
    }

    fn path(&self) -> &Path {
        &self.path
    }
}
