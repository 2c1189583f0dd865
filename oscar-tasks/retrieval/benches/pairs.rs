//! Pairs per second of a cross-image evaluation: the task's way beside the straightforward one, which
//! tokenises each pair, copies and projects its regions, pads it to the limits of the recipe, and computes
//! what is padding like the rest.
//!
//! `cargo bench --bench pairs -- [PRESET] [IMAGES] [BATCH]`, by default `tiny 24 64`; the images have 5
//! captions each, of the lengths of COCO's, and 10 to 50 regions of 2054 values.

use std::io::Write;
use std::sync::Arc;
use std::time::Instant;

use burn_flex::{Flex, FlexDevice};
use oscar_core::config::ModelConfig;
use oscar_core::input::{
    OscarInput, PaddingConfig, RegionHandle, SequenceConfig, SequenceEncoder, Tokenizer, Truncation,
};
use oscar_core::model::OscarClassifier;
use oscar_datasets::{Boxes, ImageRegions, StoreOptions, StoreWriter, Tag, open_images};
use oscar_retrieval::{Retrieval, Split, score_pairs};
use oscar_task::cross_encoder::match_scores;
use oscar_task::{Role, Task};
use rand::{Rng, SeedableRng};

type Error = Box<dyn std::error::Error + Send + Sync>;

const APPEARANCE: usize = 2048;
const CAPTIONS: usize = 5;

/// Words of BERT's vocabulary that are one token each.
const WORDS: &[&str] = &[
    "a", "man", "woman", "dog", "street", "table", "with", "red", "on", "the", "sitting", "two",
    "people", "train", "next", "to", "white", "plate", "of", "food", "standing", "in", "field",
    "grass", "water", "holding", "bus", "large", "small", "tree", "sign", "building",
];

fn main() -> Result<(), Error> {
    let words: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| !word.starts_with('-'))
        .collect();
    let preset = words.first().map_or("tiny", String::as_str);
    let number = |at: usize, default| match words.get(at) {
        None => Ok(default),
        Some(word) => word.parse::<usize>(),
    };
    let (images, batch) = (number(1, 24)?.max(2), number(2, 64)?.max(1));
    let config = ModelConfig {
        num_labels: 2,
        ..ModelConfig::preset(preset).ok_or("no such preset: tiny, base or large")?
    };
    let directory = tempfile::tempdir()?;
    let split = make(directory.path(), images)?;
    let encoder = |padding| {
        let tokenizer = Arc::new(Tokenizer::bert_base_uncased()?);
        let config = SequenceConfig {
            max_seq_length: 70,
            max_regions: 50,
            truncation: Truncation::TextB,
            ..SequenceConfig::default()
        };
        SequenceEncoder::new(tokenizer, config, padding)
    };
    let model = OscarClassifier::<Flex>::new(&config, &FlexDevice);

    let started = Instant::now();
    let data =
        Retrieval::default().open(&split, Role::Evaluate, &encoder(PaddingConfig::default())?)?;
    let mut keep = |_: &[f32], _: usize| Ok(());
    let (fast, throughput) = score_pairs(&model, &data, batch, Vec::new(), &mut keep, &FlexDevice)?;
    let fast_seconds = started.elapsed().as_secs_f64();

    let started = Instant::now();
    let to_the_limit = PaddingConfig {
        pad_multiple: 1 << 20,
        ..PaddingConfig::default()
    };
    let slow = straightforward(&model, &split, &encoder(to_the_limit)?, batch)?;
    let slow_seconds = started.elapsed().as_secs_f64();

    let difference = fast.iter().zip(&slow).map(|(a, b)| (a - b).abs());
    let difference = difference.fold(0.0, f32::max);
    let pairs = fast.len() as f64;
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "{preset}, {images} images x {} captions = {pairs} pairs, batches of {batch}, {:.1} of 120 \
         positions used",
        images * CAPTIONS,
        throughput.tokens as f64 / pairs,
    )?;
    writeln!(
        out,
        "as the task does it   {:9.1} pairs/s",
        pairs / fast_seconds
    )?;
    writeln!(
        out,
        "straightforward       {:9.1} pairs/s",
        pairs / slow_seconds
    )?;
    writeln!(
        out,
        "ratio {:.2}, largest difference of a score {difference:.1e}",
        slow_seconds / fast_seconds
    )?;
    Ok(())
}

/// A store and its captions.
fn make(directory: &std::path::Path, images: usize) -> Result<Split, Error> {
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(1);
    let regions = directory.join("regions");
    let mut store = StoreWriter::create(&regions, StoreOptions::new(APPEARANCE))?;
    let mut rows = String::new();
    for image in 0..images {
        let count = rng.random_range(10..=50);
        let features: Vec<f32> = (0..count * APPEARANCE)
            .map(|_| rng.random_range(0.0..1.0))
            .collect();
        let boxes = vec![[10.0, 10.0, 200.0, 200.0]; count];
        let tags: Vec<Tag> = (0..count.min(30))
            .map(|_| Tag {
                class: WORDS[rng.random_range(0..WORDS.len())].into(),
                score: 0.5,
                box_px: None,
                attributes: Vec::new(),
            })
            .collect();
        store.push(ImageRegions {
            key: &image.to_string(),
            width: 640,
            height: 480,
            features: &features,
            boxes: Boxes::Pixels(&boxes),
            tags: &tags,
        })?;
        let captions: Vec<String> = (0..CAPTIONS)
            .map(|_| {
                let length = rng.random_range(8..=15);
                let words: Vec<&str> = (0..length)
                    .map(|_| WORDS[rng.random_range(0..WORDS.len())])
                    .collect();
                words.join(" ")
            })
            .collect();
        let row = serde_json::json!({"image": image.to_string(), "captions": captions});
        rows.push_str(&format!("{row}\n"));
    }
    store.finish()?;
    let captions = directory.join("captions.jsonl");
    std::fs::write(&captions, rows)?;
    Ok(Split {
        captions: Some(captions),
        regions: Some(regions),
        ..Split::default()
    })
}

/// Every pair anew.
fn straightforward(
    model: &OscarClassifier<Flex>,
    split: &Split,
    encoder: &SequenceEncoder,
    batch: usize,
) -> Result<Vec<f32>, Error> {
    #[derive(serde::Deserialize)]
    struct Row {
        image: String,
        captions: Vec<String>,
    }
    let images = open_images(split.regions.as_deref().expect("set above"))?;
    let text = std::fs::read_to_string(split.captions.as_deref().expect("set above"))?;
    let rows: Vec<Row> = text
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()?;
    let captions: Vec<&String> = rows.iter().flat_map(|row| &row.captions).collect();
    let mut pairs = rows
        .iter()
        .flat_map(|row| captions.iter().map(move |caption| (row, *caption)))
        .peekable();
    let mut scores = Vec::new();
    while pairs.peek().is_some() {
        let rows = pairs.by_ref().take(batch).map(|(row, caption)| {
            let image = images.find(&row.image).ok_or("no such image")?;
            let tags = images.tag_text(image)?;
            let regions = [RegionHandle::new(images.clone(), image)?];
            Ok(encoder.encode(String::new(), caption, &tags, &regions)?)
        });
        let rows = rows.collect::<Result<Vec<_>, Error>>()?;
        let padded = OscarInput {
            packing: None,
            ..encoder.batch(&rows, &FlexDevice)?
        };
        scores.extend(match_scores(model.forward(padded)?));
    }
    Ok(scores)
}
