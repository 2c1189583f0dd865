//! Runs that take a second: a few images of one object each, captions, and pairs to match.

use std::path::Path;
use std::sync::Arc;

use oscar_core::input::{LabelNames, RegionLabels};
use oscar_datasets::{Boxes, ImageRegions, StoreDtype, StoreOptions, StoreWriter, Tag};
use serde_json::json;

use super::{Workplace, write};

pub const CLASSES: [&str; 4] = ["dog", "cat", "car", "tree"];

/// Images in all, of which the last third is validated on.
const IMAGES: usize = 36;

/// What both recipes have.
const COMMON: &str = r#"
[model]
preset = "tiny"
num_hidden_layers = 2
hidden_size = 32
intermediate_size = 64
hidden_dropout_prob = 0.1
attention_probs_dropout_prob = 0.1

[optimizer]
learning_rate = 1e-3
warmup_steps = 4
max_grad_norm = 1.0

[train]
steps = 24
batch_size = 4
validate_every = 4
save_every = 2
keep_checkpoints = 2
log_every = 1
workers = 1

[init]
random = ["all"]
"#;

const PRETRAINING: &str = r#"
[data]
vocab = "vocab.txt"
train = { corpus = "train.jsonl", regions = "regions" }
validation = { corpus = "dev.jsonl", regions = "regions" }

[encoder]
contrast = { textb_sample_mode = "text_b" }

[grounding]
examples = 4
words = []
"#;

const MATCHING: &str = r#"
[data]
vocab = "vocab.txt"
train = { pairs = "train.jsonl", regions = "regions" }
validation = { pairs = "dev.jsonl", regions = "regions" }
"#;

/// A workplace with `train.toml` and `matching.toml`; the features of `broken` images are so large
/// that sums over them overflow.
pub fn workplace(broken: fn(usize) -> bool) -> Workplace {
    let place = Workplace::in_memory();
    let options = StoreOptions {
        // F16 has no values so large.
        dtype: StoreDtype::F32,
        ..StoreOptions::new(DIM)
    };
    write_store(&place.path("regions"), options, IMAGES, |image| Image {
        key: format!("image-{image}"),
        broken: broken(image),
    });
    let (train, dev) = (0..IMAGES * 2 / 3, IMAGES * 2 / 3..IMAGES);
    for (file, images) in [("train.jsonl", train), ("dev.jsonl", dev)] {
        write(
            &place.path(file),
            &images.flat_map(rows).collect::<String>(),
        );
    }
    let words = ["there", "is", "a", "dog", "cat", "car", "tree"];
    let special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];
    write(
        &place.path("vocab.txt"),
        &[&special[..], &words].concat().join("\n"),
    );
    write(&place.path("train.toml"), &format!("{COMMON}{PRETRAINING}"));
    write(&place.path("matching.toml"), &format!("{COMMON}{MATCHING}"));
    place
}

/// Writes the images of the workplace again, to `labelled`, with the classes of their regions.
pub fn write_labelled(place: &Workplace) {
    let names = |names: &[&str]| names.iter().map(ToString::to_string).collect();
    let options = StoreOptions {
        dtype: StoreDtype::F32,
        label_names: Some(Arc::new(LabelNames {
            objects: names(&CLASSES),
            attributes: names(&["red", "old"]),
        })),
        ..StoreOptions::new(DIM)
    };
    write_store(&place.path("labelled"), options, IMAGES, |image| Image {
        key: format!("image-{image}"),
        broken: false,
    });
}

/// Rows that both tasks read: of the image's class, and of another.
pub fn rows(image: usize) -> [String; 2] {
    [(0, true), (1 + image % 3, false)].map(|(offset, label)| {
        let class = CLASSES[(image + offset) % CLASSES.len()];
        let row = json!({
            "image": format!("image-{image}"),
            "text": format!("there is a {class}"),
            "label": label,
        });
        format!("{row}\n")
    })
}

/// Appearance values per region.
pub const DIM: usize = 10;

/// How an image is written.
pub struct Image {
    pub key: String,
    /// Whether its features are so large that sums over them overflow.
    pub broken: bool,
}

/// Images of one object each, whose first feature values tell its class.
pub fn write_store(
    directory: &Path,
    options: StoreOptions,
    images: usize,
    image: impl Fn(usize) -> Image,
) {
    let labelled = options.label_names.is_some();
    let mut writer = StoreWriter::create(directory, options).expect("a store");
    for number in 0..images {
        let Image { key, broken } = image(number);
        let class = number % CLASSES.len();
        let mut features = [0.1; DIM];
        features[class] = 3.0;
        if broken {
            features = [f32::MAX; DIM];
        }
        let tag = Tag {
            class: CLASSES[class].into(),
            score: 1.0,
            box_px: Some([0.0, 0.0, 50.0, 50.0]),
            attributes: Vec::new(),
        };
        let image = ImageRegions {
            key: &key,
            width: 100,
            height: 100,
            features: &features,
            boxes: Boxes::Pixels(&[[0.0, 0.0, 50.0, 50.0]]),
            tags: &[tag],
        };
        if !labelled {
            writer.push(image).expect("an image");
            continue;
        }
        let labels = RegionLabels {
            objects: vec![class as u16],
            object_scores: vec![0.9],
            attributes: vec![(number % 2) as u16],
            attribute_scores: vec![0.5],
        };
        writer.push_labelled(image, labels).expect("an image");
    }
    writer.finish().expect("a store");
}
