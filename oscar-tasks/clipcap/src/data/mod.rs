//! An opened split: every caption as tokens, every picture's embedding found.

pub mod pickle;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use oscar_core::input::{BOX_VALUES, SourceError};
use oscar_datasets::view::View;
use oscar_datasets::{DatasetError, ImageSource, ImagesAt, SharedImages, captions, open_images};
use oscar_task::{Role, TaskData, required};

use crate::gpt2::Gpt2Tokenizer;
use crate::scores::References;
use crate::task::{Captioning, Split};
use pickle::PickledCaption;

/// A caption and its tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Caption {
    /// As it is in the file.
    pub text: String,
    /// Its tokens, the final full stop among them.
    pub ids: Vec<u32>,
}

/// A picture of the split.
#[derive(Clone, Debug, Default)]
pub struct Image {
    /// As the file of captions names it.
    pub key: String,
    /// Its row in the source of embeddings.
    pub row: usize,
    /// Captions that people wrote for it.
    pub captions: Vec<Caption>,
}

/// A split, opened.
pub struct CaptionData {
    path: PathBuf,
    images: Vec<Image>,
    /// Image and number of each caption, in order.
    captions: Vec<(u32, u32)>,
    source: SharedImages,
    role: Role,
    /// References of the captions; none where a picture has no caption, and none for training.
    references: Option<Arc<References>>,
    /// The same pictures with each other's embeddings, to see what a model takes from them.
    swapped: Option<SharedImages>,
    /// Other pictures, whose captions are a baseline: that of the most similar one.
    neighbours: Option<Box<CaptionData>>,
}

impl CaptionData {
    /// Opens `split` and checks every row.
    ///
    /// # Errors
    ///
    /// A file that cannot be read; a picture without an embedding, or with several; a caption without
    /// words; for training and validation, a picture without captions.
    pub fn open(
        split: &Split,
        role: Role,
        task: &Captioning,
        tokenizer: &Gpt2Tokenizer,
    ) -> Result<Self, SourceError> {
        let path = required(&split.captions, "captions", "a file of captions")?;
        let stop = task.add_full_stop;
        let caption = |text: &str| Caption {
            ids: tokenizer.encode(&match stop {
                true => with_full_stop(text),
                false => text.to_string(),
            }),
            text: text.to_string(),
        };
        let (images, source) = match pickle::is_pickle(path) {
            true => of_pickle(path, split, caption)?,
            false => of_captions(path, split, role, caption)?,
        };
        check_embeddings(&images, &*source)?;
        let mut data = Self {
            captions: pairs(&images),
            images,
            source,
            role,
            references: None,
            swapped: None,
            neighbours: None,
            path: path.to_path_buf(),
        };
        if role != Role::Train && data.images.iter().all(|image| !image.captions.is_empty()) {
            data.references = Some(Arc::new(References::new(&data.images)));
        }
        if role == Role::Evaluate && task.compare {
            data.swapped = swapped(split)?;
            data.neighbours = neighbours(split, task, tokenizer)?;
        }
        Ok(data)
    }

    /// The file of captions.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The pictures, in the order of the file.
    pub fn images(&self) -> &[Image] {
        &self.images
    }

    /// Values of an embedding.
    pub fn embedding_dim(&self) -> usize {
        self.source.region_dim() - BOX_VALUES
    }

    /// The embedding of a picture.
    ///
    /// # Errors
    ///
    /// If it cannot be read.
    pub fn embedding(&self, image: usize) -> Result<Vec<f32>, SourceError> {
        let mut region = vec![0.0; self.source.region_dim()];
        self.source
            .copy_regions(self.images[image].row, &mut region)?;
        region.truncate(self.embedding_dim());
        Ok(region)
    }

    /// Image and tokens of caption `index`.
    pub fn caption(&self, index: usize) -> (usize, &Caption) {
        let (image, number) = self.captions[index];
        let image = image as usize;
        (image, &self.images[image].captions[number as usize])
    }

    /// References of the captions, if every picture has some.
    pub(crate) fn references(&self) -> Option<&Arc<References>> {
        self.references.as_ref()
    }

    /// Other pictures whose captions are compared with the written ones.
    pub(crate) fn neighbours(&self) -> Option<&CaptionData> {
        self.neighbours.as_deref()
    }

    /// The split with each other's embeddings, if that is to be scored.
    pub(crate) fn swapped(&self) -> Option<Self> {
        let source = self.swapped.as_ref()?;
        Some(Self {
            path: self.path.clone(),
            captions: self.captions.clone(),
            images: self.images.clone(),
            source: source.clone(),
            role: self.role,
            references: self.references.clone(),
            swapped: None,
            neighbours: None,
        })
    }

    /// Name of caption or picture `index` in messages.
    pub(crate) fn name(&self, index: usize) -> String {
        let path = self.path.display();
        match self.role {
            Role::Train => {
                let (image, number) = self.captions[index];
                let image = &self.images[image as usize].key;
                format!("{path}: caption {} of image {image}", number + 1)
            }
            _ => format!("{path}: image {}", self.images[index].key),
        }
    }
}

impl TaskData for CaptionData {
    /// Captions to learn, or else pictures.
    fn len(&self) -> usize {
        match self.role {
            Role::Train => self.captions.len(),
            _ => self.images.len(),
        }
    }

    fn region_dim(&self) -> usize {
        self.source.region_dim()
    }

    fn extractor(&self) -> Option<String> {
        self.source.extractor().map(String::from)
    }
}

/// `text` with a full stop at its end and none before it, as `parse_conceptual.py` writes captions.
fn with_full_stop(text: &str) -> String {
    let text = text.trim();
    let stopped = match text.ends_with('.') {
        true => text.to_string(),
        false => format!("{text}."),
    };
    match stopped.strip_suffix(" .") {
        Some(words) => format!("{words}."),
        None => stopped,
    }
}

fn pairs(images: &[Image]) -> Vec<(u32, u32)> {
    let of_image = |(number, image): (usize, &Image)| {
        let captions = 0..image.captions.len() as u32;
        captions.map(move |caption| (number as u32, caption))
    };
    images.iter().enumerate().flat_map(of_image).collect()
}

fn of_captions(
    path: &Path,
    split: &Split,
    role: Role,
    caption: impl Fn(&str) -> Caption,
) -> Result<(Vec<Image>, SharedImages), SourceError> {
    let what = "the region store with the embeddings, one region for each picture";
    let source = open_images(required(&split.regions, "regions", what)?)?;
    let rows = captions::read(path, Some(source.clone()))?;
    if role != Role::Evaluate {
        rows.require_labels()?;
    }
    let image = |index: usize| {
        let row = &rows[index];
        Image {
            key: row.key.clone(),
            row: rows.images(index)[0] as usize,
            captions: row.captions.iter().map(|text| caption(text)).collect(),
        }
    };
    Ok(((0..rows.len()).map(image).collect(), source))
}

/// Pictures of the same name are one, whose embedding is that of its first caption.
fn of_pickle(
    path: &Path,
    split: &Split,
    caption: impl Fn(&str) -> Caption,
) -> Result<(Vec<Image>, SharedImages), SourceError> {
    if split.regions.is_some() {
        return Err(DatasetError::malformed(
            path,
            "this file has embeddings, and `regions` names others",
            "leave `regions` out, or give a file of captions alone",
        )
        .into());
    }
    let (embeddings, captions) = pickle::open(path)?;
    let mut places: HashMap<String, usize> = HashMap::new();
    let mut images: Vec<Image> = Vec::new();
    for PickledCaption {
        image,
        caption: text,
        row,
    } in captions
    {
        let at = *places.entry(image.clone()).or_insert(images.len());
        if at == images.len() {
            images.push(Image {
                key: image,
                row,
                captions: Vec::new(),
            });
        }
        images[at].captions.push(caption(&text));
    }
    Ok((images, Arc::new(embeddings)))
}

/// Each picture has one embedding.
fn check_embeddings(images: &[Image], source: &dyn ImageSource) -> Result<(), SourceError> {
    for image in images {
        let regions = source.num_regions(image.row)?;
        if regions != 1 {
            return Err(DatasetError::malformed(
                source.path(),
                format!(
                    "image {} has {regions} regions, not one embedding",
                    image.key
                ),
                "compute the embeddings of the pictures with the extractor `clip`",
            )
            .into());
        }
    }
    Ok(())
}

/// The pictures with each other's embeddings; none for a pickle.
fn swapped(split: &Split) -> Result<Option<SharedImages>, SourceError> {
    let Some(path) = &split.regions else {
        return Ok(None);
    };
    let mut images = ImagesAt::of(path)?;
    if images.view != View::default() {
        return Ok(None);
    }
    images.view.swap = Some(1);
    Ok(Some(images.open()?))
}

fn neighbours(
    split: &Split,
    task: &Captioning,
    tokenizer: &Gpt2Tokenizer,
) -> Result<Option<Box<CaptionData>>, SourceError> {
    if split.neighbours.is_none() {
        return Ok(None);
    }
    let split = Split {
        captions: split.neighbours.clone(),
        regions: split.neighbour_regions.clone(),
        ..Split::default()
    };
    let data = CaptionData::open(&split, Role::Train, task, tokenizer)?;
    Ok(Some(Box::new(data)))
}

#[cfg(test)]
mod tests {
    use super::with_full_stop;

    #[test]
    fn a_caption_ends_with_one_full_stop() {
        for (text, expected) in [
            ("a red ring", "a red ring."),
            (" a red ring . ", "a red ring."),
            ("a red ring.", "a red ring."),
            (".", "."),
            ("", "."),
        ] {
            assert_eq!(with_full_stop(text), expected, "{text:?}");
        }
    }
}
