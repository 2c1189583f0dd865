//! A corpus and a region store in memory, and what the test files share.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;

use oscar_core::input::{
    ContrastConfig, EncodedPair, Example, ExampleSeed, ExampleSource, PaddingConfig,
    PretrainEncoder, PretrainEncoderConfig, RegionHandle, RegionSource, SourceError, TextB,
    TextBSampleMode, Tokenizer,
};

/// Images of `counts[row]` regions; value `v` of region `r` is `100 * row + r + v / 100`.
pub struct Regions {
    pub counts: Vec<usize>,
    pub dim: usize,
}

impl RegionSource for Regions {
    fn region_dim(&self) -> usize {
        self.dim
    }

    fn num_regions(&self, row: usize) -> Result<usize, SourceError> {
        Ok(self.counts[row])
    }

    fn copy_regions(&self, row: usize, out: &mut [f32]) -> Result<(), SourceError> {
        for (index, value) in out.iter_mut().enumerate() {
            *value = region_value(row, index / self.dim, index % self.dim);
        }
        Ok(())
    }
}

/// The regions of image `row`.
pub fn handle(source: Arc<Regions>, row: usize) -> RegionHandle {
    RegionHandle::new(source, row).expect("regions in memory are readable")
}

pub fn region_value(row: usize, region: usize, value: usize) -> f32 {
    (100 * row + region) as f32 + value as f32 / 100.0
}

/// Rows in memory.
#[derive(Default)]
pub struct Corpus {
    pub rows: Vec<Example>,
    answers: Vec<u32>,
}

impl Corpus {
    /// One image per row, of `2 + row % 5` regions, with these texts A and B.
    pub fn new(texts: &[(&str, &str)]) -> Self {
        let counts = (0..texts.len()).map(|row| 2 + row % 5).collect();
        let regions = Arc::new(Regions { counts, dim: 4 });
        let mut corpus = Self::default();
        for (row, (a, b)) in texts.iter().enumerate() {
            corpus.push(example(row, a, b, handle(regions.clone(), row)));
        }
        corpus
    }

    /// `len` rows whose texts tell which row they are from: "caption letter x", "tag letter x".
    pub fn numbered(len: usize) -> Self {
        let texts: Vec<_> = (0..len).map(|row| (caption(row), tags(row))).collect();
        let texts: Vec<_> = texts
            .iter()
            .map(|(a, b)| (a.as_str(), b.as_str()))
            .collect();
        Self::new(&texts)
    }

    pub fn push(&mut self, example: Example) {
        if example.text_b_is == TextB::Answer {
            self.answers.push(self.rows.len() as u32);
        }
        self.rows.push(example);
    }
}

impl ExampleSource for Corpus {
    fn len(&self) -> usize {
        self.rows.len()
    }

    fn get(&self, index: usize) -> Result<Example, SourceError> {
        self.rows
            .get(index)
            .cloned()
            .ok_or_else(|| format!("no row {index}").into())
    }

    fn answer_rows(&self) -> &[u32] {
        &self.answers
    }
}

pub fn caption(row: usize) -> String {
    format!("the box {row} is yellow and the tower is blue")
}

pub fn tags(row: usize) -> String {
    format!("square {row} circle")
}

pub fn example(row: usize, a: &str, b: &str, regions: RegionHandle) -> Example {
    Example {
        origin: format!("memory:{}", row + 1),
        image: format!("image{row}"),
        text_a: a.to_owned(),
        text_b: b.to_owned(),
        text_b_is: TextB::Tags,
        regions,
        graph: None,
        answers: Vec::new(),
    }
}

/// The folder of the tokenizer's expected results.
pub fn goldens() -> PathBuf {
    match std::env::var_os("OSCAR_GOLDENS") {
        Some(folder) => PathBuf::from(folder).join("tokenizer"),
        None => PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/tokenizer"),
    }
}

/// The toy vocabulary's tokenizer.
pub fn tokenizer() -> Arc<Tokenizer> {
    Arc::new(Tokenizer::from_vocab_file(goldens().join("vocab.txt")).unwrap())
}

pub fn encoder(config: PretrainEncoderConfig) -> PretrainEncoder {
    PretrainEncoder::new(tokenizer(), config, PaddingConfig::default()).unwrap()
}

/// The ids of these words.
pub fn ids(tokenizer: &Tokenizer, words: &[&str]) -> HashSet<u32> {
    words
        .iter()
        .map(|word| tokenizer.id(word).unwrap())
        .collect()
}

pub const SEED: ExampleSeed = ExampleSeed { seed: 42, epoch: 0 };

pub fn contrast(
    texta_false_prob: f64,
    textb_sample_mode: TextBSampleMode,
) -> PretrainEncoderConfig {
    let contrast = ContrastConfig {
        texta_false_prob,
        textb_sample_mode,
        ..ContrastConfig::default()
    };
    PretrainEncoderConfig {
        contrast,
        ..Default::default()
    }
}

pub fn unmasked(config: PretrainEncoderConfig) -> PretrainEncoder {
    encoder(PretrainEncoderConfig {
        mask_probability: 0.0,
        ..config
    })
}

/// Every row, in `epochs` passes.
pub fn encode_all(encoder: &PretrainEncoder, corpus: &Corpus, epochs: u64) -> Vec<EncodedPair> {
    let encode = |epoch, row| {
        encoder
            .encode(corpus, row, ExampleSeed { epoch, ..SEED })
            .unwrap()
    };
    (0..epochs)
        .flat_map(|epoch| (0..corpus.len()).map(move |row| encode(epoch, row)))
        .collect()
}

/// Fails unless `count` of `total` is within 3 standard deviations of its expected share.
pub fn assert_share(count: usize, total: usize, share: f64, what: &str) {
    let (count, total) = (count as f64, total as f64);
    let sigma = (total * share * (1.0 - share)).sqrt();
    let off = (count - total * share) / sigma.max(1e-9);
    assert!(
        off.abs() < 3.0,
        "{what}: {} instead of {share}, {off:.1} sigma",
        count / total
    );
}

/// Tokens of text A and of text B, special ones aside.
pub fn lengths(pair: &EncodedPair) -> (usize, usize) {
    (text_a(pair).len(), text_b(pair).len())
}

pub fn text_a(pair: &EncodedPair) -> &[u32] {
    &pair.sequence.input_ids[pair.sequence.positions_a()]
}

pub fn text_b(pair: &EncodedPair) -> &[u32] {
    &pair.sequence.input_ids[pair.sequence.positions_b()]
}

pub fn regions(count: usize) -> RegionHandle {
    let counts = vec![count];
    handle(Arc::new(Regions { counts, dim: 4 }), 0)
}
