//! Golden sets of the official models as folders of published weights.

use std::fs;
use std::path::{Path, PathBuf};

use oscar_datasets::{Boxes, ImageRegions, StoreDtype, StoreOptions, StoreWriter, Tag};
use safetensors::{Dtype, SafeTensors};

use super::{Workplace, stderr, write};

/// Appearance values of a region in the sets; six values of its box follow.
const FEATURES: usize = 32;

pub fn fixture(set: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/fixtures")
        .join(set)
}

/// Tensors of a file, as numbers.
pub struct Tensors(Vec<u8>);

impl Tensors {
    pub fn read(set: &str, file: &str) -> Self {
        Self(fs::read(fixture(set).join(file)).expect("a fixture"))
    }

    /// Shape and values.
    pub fn get(&self, name: &str) -> (Vec<usize>, Vec<f64>) {
        let tensors = SafeTensors::deserialize(&self.0).expect("safetensors");
        let tensor = tensors.tensor(name).expect(name);
        let bytes = tensor.data();
        let values = match tensor.dtype() {
            Dtype::I64 => bytes
                .chunks_exact(8)
                .map(|b| i64::from_le_bytes(b.try_into().expect("8")) as f64)
                .collect(),
            Dtype::F32 => bytes
                .chunks_exact(4)
                .map(|b| f64::from(f32::from_le_bytes(b.try_into().expect("4"))))
                .collect(),
            other => panic!("{name} is {other:?}"),
        };
        (tensor.shape().to_vec(), values)
    }

    /// The rows of a matrix.
    pub fn rows(&self, name: &str) -> Vec<Vec<f64>> {
        let (shape, values) = self.get(name);
        let width = *shape.last().expect("a matrix");
        values.chunks_exact(width).map(<[f64]>::to_vec).collect()
    }
}

/// An example of a set: what a user has of it.
pub struct Example {
    /// Text A, and the tags (text B).
    pub text: String,
    pub tags: String,
    /// `[regions, 38]`.
    pub regions: Vec<f32>,
}

/// The words of ids, as the vocabulary of [`folder`] has them.
pub fn words(ids: &[f64]) -> String {
    let ids = ids.iter().filter(|id| **id >= 5.0);
    ids.map(|id| format!("w{id}")).collect::<Vec<_>>().join(" ")
}

/// The examples of a set, of which input names begin with `prefix`.
pub fn examples(set: &str, prefix: &str) -> Vec<Example> {
    let inputs = Tensors::read(set, "inputs.safetensors");
    let ids = inputs.rows(&format!("{prefix}input_ids"));
    let kinds = inputs.rows(&format!("{prefix}token_type_ids"));
    let (shape, mask) = inputs.get(&format!("{prefix}attention_mask"));
    let (seq, text) = (*shape.last().expect("a mask"), ids[0].len());
    // Of a mask per query the last word reads everything.
    let queries = shape
        .iter()
        .rev()
        .nth(1)
        .filter(|_| shape.len() == 3 && shape[1] == seq);
    let per_example = queries.map_or(seq, |queries| queries * seq);
    let (features, values) = inputs.get(&format!("{prefix}img_feats"));
    let (regions, dim) = (features[features.len() - 2], features[features.len() - 1]);
    assert_eq!((dim, seq), (FEATURES + 6, text + regions));
    let example = |at: usize| {
        let of_kind = |kind: f64| -> Vec<f64> {
            let ids = ids[at].iter().zip(&kinds[at]);
            ids.filter(|(_, k)| **k == kind)
                .map(|(id, _)| *id)
                .collect()
        };
        let mask = &mask[at * per_example..(at + 1) * per_example];
        let row = match queries {
            None => mask,
            // A region: it reads tags and regions.
            Some(_) => &mask[(seq - regions) * seq..][..seq],
        };
        let used = row[text..].iter().filter(|read| **read > 0.0).count();
        let values = &values[at * regions * dim..][..used * dim];
        Example {
            text: words(&of_kind(0.0)),
            tags: words(&of_kind(1.0)),
            regions: values.iter().map(|value| *value as f32).collect(),
        }
    };
    (0..ids.len()).map(example).collect()
}

/// A place with `published/`, a set's weights as the official scripts leave them, and the store
/// `regions` with its images under the keys 0, 1, 2 …
pub fn place(set: &str, examples: &[Example]) -> Workplace {
    let place = Workplace::new();
    let folder = place.path("published");
    fs::create_dir(&folder).expect("a folder");
    let exported = place.run(&[
        "model",
        "export",
        &fixture(set).display().to_string(),
        "--out",
        "published/pytorch_model.bin",
    ]);
    assert!(exported.status.success(), "{}", stderr(&exported));
    fs::copy(fixture(set).join("config.json"), folder.join("config.json")).expect("a file");
    let special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"].map(String::from);
    let tokens = special
        .into_iter()
        .chain((5..200).map(|id| format!("w{id}")));
    write(
        &folder.join("vocab.txt"),
        &(tokens.collect::<Vec<_>>().join("\n") + "\n"),
    );
    write(
        &folder.join("special_tokens_map.json"),
        "{\"cls_token\": \"[CLS]\"}",
    );
    write(&folder.join("added_tokens.json"), "{}");

    let options = StoreOptions {
        dtype: StoreDtype::F32,
        ..StoreOptions::new(FEATURES)
    };
    let mut store = StoreWriter::create(&place.path("regions"), options).expect("a store");
    for (key, example) in examples.iter().enumerate() {
        let regions = example.regions.chunks_exact(FEATURES + 6);
        let features: Vec<f32> = regions
            .clone()
            .flat_map(|r| r[..FEATURES].to_vec())
            .collect();
        let boxes: Vec<[f32; 6]> = regions
            .map(|region| region[FEATURES..].try_into().expect("six"))
            .collect();
        let tags: Vec<Tag> = example
            .tags
            .split(' ')
            .filter(|class| !class.is_empty())
            .map(|class| Tag {
                class: class.into(),
                score: 1.0,
                box_px: None,
                attributes: vec![],
            })
            .collect();
        store
            .push(ImageRegions {
                key: &key.to_string(),
                width: 100,
                height: 100,
                features: &features,
                boxes: Boxes::Relative(&boxes),
                tags: &tags,
            })
            .expect("an image");
    }
    store.finish().expect("a store");
    place
}
