//! Opens one corpus and reads batches of it.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use burn_flex::{Flex, FlexDevice};
use oscar_core::input::{
    ExampleSeed, PaddingConfig, PretrainBatcher, PretrainEncoder, PretrainEncoderConfig, Tokenizer,
};
use oscar_datasets::{OfficialCorpusOptions, open_corpus};
use oscar_train::{Portion, Sequence, Shuffle};

use crate::Result;

/// Rows of a batch.
pub const BATCH: usize = 128;

const SEED: u64 = 42;

pub const HEADER: &str = "     rows  layout      shuffled    open s    draw  example    batch µs/row \
                          MB of own memory and of files, opened, half way, at the end";

/// Measures, and returns a line of the table that [`HEADER`] heads, without its title.
pub fn run(corpus: &Path, regions: &Path, window: usize, batches: usize) -> Result<String> {
    let start = Instant::now();
    let opened = open_corpus(corpus, regions, OfficialCorpusOptions::default())?;
    let open = start.elapsed();

    let vocab = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/bert-base-uncased-vocab.txt");
    let tokenizer = Arc::new(Tokenizer::from_vocab_file(vocab)?);
    let encoder = PretrainEncoder::new(tokenizer, PretrainEncoderConfig::default())?;
    let batcher = PretrainBatcher::new(&encoder, PaddingConfig::default())?;
    let portion = Portion {
        examples: opened.rows.len(),
        weight: 1,
    };
    let shuffle = Shuffle { seed: SEED, window };
    let sequence = Sequence::new(&[portion], shuffle, BATCH);

    let mut memory = vec![Memory::now()];
    let [mut drawing, mut encoding, mut batching] = [Duration::ZERO; 3];
    for batch in 0..batches {
        let start = Instant::now();
        let first = (batch * BATCH) as u64;
        let picks = sequence.picks(first..first + BATCH as u64);
        drawing += start.elapsed();
        let start = Instant::now();
        let rows: std::result::Result<Vec<_>, _> = picks
            .iter()
            .map(|pick| {
                let seed = ExampleSeed {
                    seed: SEED,
                    epoch: pick.epoch,
                };
                encoder.encode(&*opened.rows, pick.index as usize, seed)
            })
            .collect();
        encoding += start.elapsed();
        let start = Instant::now();
        drop(batcher.try_batch::<Flex>(rows?, &FlexDevice)?);
        batching += start.elapsed();
        if [batches / 2, batches - 1].contains(&batch) {
            memory.push(Memory::now());
        }
    }
    let per_row = |time: Duration| time.as_secs_f64() * 1e6 / (batches * BATCH) as f64;
    let shuffled = match window {
        0 => "as a whole".into(),
        window => format!("by {window}"),
    };
    let memory: Vec<String> = memory.iter().map(Memory::to_string).collect();
    Ok(format!(
        "  {shuffled:<10} {:>7.2} {:>8.1} {:>8.1} {:>8.1}   {}",
        open.as_secs_f64(),
        per_row(drawing),
        per_row(encoding),
        per_row(batching),
        memory.join(", "),
    ))
}

/// Resident memory in kB: the process's own, and pages of mapped files.
struct Memory(Option<[u64; 2]>);

impl Memory {
    /// What Linux says; elsewhere nothing.
    fn now() -> Self {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let value = |name: &str| -> Option<u64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse().ok()
        };
        Self(value("RssAnon:").and_then(|own| Some([own, value("RssFile:")?])))
    }
}

impl std::fmt::Display for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some([own, files]) => write!(f, "{:>4} + {:>4}", own / 1000, files / 1000),
            None => f.write_str("-"),
        }
    }
}
