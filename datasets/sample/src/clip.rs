//! What ClipCap learns from in the sample: an embedding of each described box, and byte-pair tokens for
//! the captions.
//!
//! The tower that embeds is a small ViT with random weights: it was trained on nothing. What it gives is
//! a random function of the pixels, in which colours, shapes and numbers can be found again.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::Path;

use burn::tensor::{Tensor, TensorData};
use burn_flex::{Flex, FlexDevice};
use oscar_core::config::Activation;
use oscar_datasets::captions::{self, CaptionedImage};
use oscar_datasets::pictures::Pictures;
use oscar_datasets::{
    Boxes, DatasetError, ImageRegions, RegionStore, Result, StoreOptions, StoreWriter,
    recorded_pictures,
};
use oscar_files::write_file;
use oscar_vision::clip::preprocess::{Pipeline, normalised, picture};
use oscar_vision::clip::{VisionConfig, VisionTransformer, byte_characters};

/// The folder in the expanded sample.
pub const CLIP: &str = "clip";

/// Of the tower's weights.
const SEED: u64 = 17;

/// Boxes that are embedded at a time.
const BATCH: usize = 64;

/// Both splits, and the file of the captions that the task has of each.
const SPLITS: [&str; 2] = ["train", "dev"];

/// A box is 100 pixels wide and high, and so is the tower's picture: nothing is resized.
const TOWER: VisionConfig = VisionConfig {
    image_size: 100,
    patch_size: 10,
    width: 192,
    inner: 768,
    layers: 2,
    heads: 3,
    embedding_dim: 192,
    activation: Activation::QuickGelu,
};

/// Makes `clip/` in the expanded sample `dir`, unless it is there: a store of embeddings for each split,
/// `vocab.json` and `merges.txt`.
///
/// # Errors
///
/// If the sample is not whole, or the disk refuses.
pub fn build_clip(dir: &Path) -> Result<()> {
    let out = dir.join(CLIP);
    // The vocabulary is written last.
    if out.join("vocab.json").is_file() {
        return Ok(());
    }
    fs::create_dir_all(&out).map_err(DatasetError::io("create", &out))?;
    let tower = VisionTransformer::<Flex>::fresh(TOWER, SEED, &FlexDevice);
    let mut words = BTreeSet::new();
    for split in SPLITS {
        let path = dir.join(format!("tasks/retrieval-{split}.jsonl"));
        let images = captions::read(&path, None)?;
        let images: Vec<&CaptionedImage> = (0..images.len()).map(|at| &images[at]).collect();
        for caption in images.iter().flat_map(|image| &image.captions) {
            words.extend(caption.split_whitespace().map(String::from));
        }
        let target = out.join(split);
        if RegionStore::open(&target).is_err() {
            embed(dir, split, &images, &tower, &target)?;
        }
    }
    write_tokens(&out, &words)
}

fn embed(
    dir: &Path,
    split: &str,
    images: &[&CaptionedImage],
    tower: &VisionTransformer<Flex>,
    out: &Path,
) -> Result<()> {
    const FIX: &str = "delete the expanded sample, so that it is made again";
    let regions = dir.join(split).join("regions");
    let store = RegionStore::open(&regions)?;
    let wrong = |found: String| DatasetError::malformed(&regions, found, FIX);
    let path = recorded_pictures(&store);
    let path = path.ok_or_else(|| wrong("the pictures of its boxes are not found".into()))?;
    let pictures = Pictures::open(&path)?;
    let mut options = StoreOptions::new(TOWER.embedding_dim);
    options.source = "boxes of NLVR v1, by a ViT with random weights".into();
    options.pictures = path.canonicalize().ok();
    let mut writer = StoreWriter::create(out, options)?;
    for batch in images.chunks(BATCH) {
        let (mut pixels, mut sizes) = (Vec::new(), Vec::new());
        for image in batch {
            let found = pictures.find(&image.key)?;
            let found = found.ok_or_else(|| wrong(format!("no picture of box {}", image.key)))?;
            sizes.push(found.image.dimensions());
            let side = TOWER.image_size;
            pixels.extend(normalised(&picture(&found, side, Pipeline::OpenAi)));
        }
        let shape = [batch.len(), 3, TOWER.image_size, TOWER.image_size];
        let pixels = Tensor::<Flex, 4>::from_data(TensorData::new(pixels, shape), &FlexDevice);
        let embeddings: Vec<f32> = tower.forward(pixels).into_data().iter::<f32>().collect();
        let rows = embeddings.chunks_exact(TOWER.embedding_dim);
        for ((image, features), (width, height)) in batch.iter().zip(rows).zip(sizes) {
            writer.push(ImageRegions {
                key: &image.key,
                width,
                height,
                features,
                boxes: Boxes::Pixels(&[[0.0, 0.0, width as f32, height as f32]]),
                tags: &[],
            })?;
        }
    }
    writer.finish()
}

/// Writes a byte-pair vocabulary in which each of `words` is a token, with and without a space before
/// it: each word is merged from its first letter on.
fn write_tokens(out: &Path, words: &BTreeSet<String>) -> Result<()> {
    let bytes: Vec<(u8, char)> = byte_characters().collect();
    let letter: BTreeMap<u8, char> = bytes.iter().copied().collect();
    let mut tokens: Vec<String> = bytes.iter().map(|(_, letter)| letter.to_string()).collect();
    let mut known: BTreeSet<String> = tokens.iter().cloned().collect();
    let mut merges = String::from("#version: 0.2\n");
    // Words after a space come first, so that no merge of a bare word takes a letter out of them.
    for space in [" ", ""] {
        for word in words {
            let letters = format!("{space}{word}").into_bytes();
            let mut whole = String::new();
            for byte in letters {
                let next = letter[&byte];
                if !whole.is_empty() {
                    let merged = format!("{whole}{next}");
                    if known.insert(merged.clone()) {
                        merges.push_str(&format!("{whole} {next}\n"));
                        tokens.push(merged);
                    }
                }
                whole.push(next);
            }
        }
    }
    tokens.push("<|endoftext|>".into());
    let vocabulary: BTreeMap<&String, usize> = tokens.iter().zip(0..).collect();
    let path = out.join("vocab.json");
    let json = serde_json::to_vec(&vocabulary);
    let json = json.map_err(|error| DatasetError::io("write", &path)(io::Error::other(error)))?;
    write_file(&out.join("merges.txt"), merges.as_bytes())?;
    Ok(write_file(&path, &json)?)
}
