//! A region store, and checkpoints of models that have learned nothing, for tests of examples. Included
//! by the tests of other crates.

use std::path::Path;
use std::sync::Arc;

use burn_flex::{Flex, FlexDevice};
use oscar_core::checkpoint::{self, Checkpointed};
use oscar_core::config::ModelConfig;
use oscar_core::input::{PaddingConfig, SequenceConfig, SequenceEncoder, Tokenizer};
use oscar_datasets::{Boxes, ImageRegions, StoreOptions, StoreWriter, Tag};
use oscar_task::{Oscar, Task, TaskCheckpoint};

/// Appearance values per region.
const APPEARANCE: usize = 4;

const WORDS: &str = "[PAD] [UNK] [CLS] [SEP] [MASK] is it a red blue dog cat two dogs on grass";

/// Writes the images `0` and `1` with two regions each into the store `directory`.
pub fn write_store(directory: &Path) {
    let mut writer = StoreWriter::create(directory, StoreOptions::new(APPEARANCE)).unwrap();
    for image in 0..2 {
        let features: Vec<f32> = (0..2 * APPEARANCE)
            .map(|at| ((at * 7 + image * 5) % 11) as f32 / 5.0 - 1.0)
            .collect();
        let class = ["dog", "cat"][image].into();
        let tag = Tag {
            class,
            score: 0.5,
            box_px: None,
            attributes: vec![],
        };
        writer
            .push(ImageRegions {
                key: &image.to_string(),
                width: 100,
                height: 100,
                features: &features,
                boxes: Boxes::Pixels(&[[0.0, 0.0, 50.0, 50.0], [10.0, 10.0, 90.0, 90.0]]),
                tags: &[tag],
            })
            .unwrap();
    }
    writer.finish().unwrap();
}

/// Writes a checkpoint of `task`, whose network `new` makes, into `directory`.
pub fn write_checkpoint<T: Task<Family = Oscar>, M: Checkpointed<Flex>>(
    directory: &Path,
    task: T,
    new: impl FnOnce(&ModelConfig, &FlexDevice) -> M,
) {
    let vocabulary = WORDS.split(' ').map(String::from).collect();
    let tokenizer = Arc::new(Tokenizer::from_vocab(vocabulary).unwrap());
    let config = SequenceConfig {
        max_seq_length: 24,
        max_regions: 4,
        ..SequenceConfig::default()
    };
    let padding = PaddingConfig::default();
    let mut model = ModelConfig {
        vocab_size: tokenizer.vocab_size(),
        hidden_size: 32,
        num_hidden_layers: 1,
        num_attention_heads: 2,
        intermediate_size: 64,
        max_position_embeddings: 48,
        initializer_range: 0.4,
        img_feature_dim: APPEARANCE + 6,
        ..ModelConfig::base()
    };
    task.configure(&mut model).unwrap();
    let encoder = SequenceEncoder::new(tokenizer, config.clone(), padding).unwrap();
    std::fs::create_dir_all(directory).unwrap();
    checkpoint::save(
        &new(&model, &FlexDevice),
        directory.join("model.safetensors"),
    )
    .unwrap();
    let checkpoint = TaskCheckpoint {
        model,
        task,
        encoder: Arc::new(encoder),
        encoder_config: config,
        padding,
        extractor: None,
        path: directory.into(),
    };
    checkpoint.describe(directory).unwrap();
}

/// What an example prints with `args`, whose first ones are paths in `place`.
pub fn output(
    run: impl Fn(
        &[String],
        &mut dyn std::io::Write,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>>,
    place: &Path,
    args: &[&str],
) -> String {
    let paths = ["checkpoint", "store"].map(|name| place.join(name).display().to_string());
    let args = paths
        .into_iter()
        .chain(args.iter().map(|arg| arg.to_string()));
    let mut out = Vec::new();
    run(&args.collect::<Vec<_>>(), &mut out).unwrap();
    String::from_utf8(out).unwrap()
}
