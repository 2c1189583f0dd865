//! Opens one corpus and reads batches of it.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use burn_flex::{Flex, FlexDevice};
use oscar_core::input::{
    ExampleSeed, PaddingConfig, PretrainEncoder, PretrainEncoderConfig, Tokenizer,
};
use oscar_datasets::{OfficialCorpusOptions, open_corpus};
use oscar_train::{Portion, Sequence, Shuffle};

use crate::Result;

/// Rows of a batch.
pub const BATCH: usize = 128;

const SEED: u64 = 42;

/// The head of the table; times are of one row, in µs of a processor, when it is read from the files
/// and again from memory.
pub const HEADER: &str = concat!(
    "     rows  layout      shuffled     open s    CPU    draw  example  again   batch   again",
    "   MB own + files: opened,    half way,      at the end",
);

/// Measures, and returns a line of the table that [`HEADER`] heads, without its title.
pub fn run(corpus: &Path, regions: &Path, window: usize, batches: usize) -> Result<String> {
    let (start, cpu) = (Instant::now(), process_time());
    let opened = open_corpus(corpus, regions, OfficialCorpusOptions::default())?;
    let (open, open_cpu) = (start.elapsed(), process_time().saturating_sub(cpu));

    let vocab = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/bert-base-uncased-vocab.txt");
    let tokenizer = Arc::new(Tokenizer::from_vocab_file(vocab)?);
    let (config, padding) = (PretrainEncoderConfig::default(), PaddingConfig::default());
    let encoder = PretrainEncoder::new(tokenizer, config, padding)?;
    let portion = Portion {
        examples: opened.rows.len(),
        weight: 1,
    };
    let shuffle = Shuffle { seed: SEED, window };
    let sequence = Sequence::new(&[portion], shuffle, BATCH);

    let mut memory = vec![Memory::now()];
    // The second time everything is in memory.
    let (mut first, mut again) = (Times::default(), Times::default());
    for times in [&mut first, &mut again] {
        for batch in 0..batches {
            let start = thread_time();
            let at = (batch * BATCH) as u64;
            let picks = sequence.examples(at..at + BATCH as u64);
            let drawn = thread_time();
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
            let encoded = thread_time();
            drop(encoder.batch::<Flex>(&rows?, &FlexDevice)?);
            times.draw += drawn.saturating_sub(start);
            times.example += encoded.saturating_sub(drawn);
            times.batch += thread_time().saturating_sub(encoded);
            if memory.len() < 3 && [batches / 2, batches - 1].contains(&batch) {
                memory.push(Memory::now());
            }
        }
    }
    let per_row = |time: Duration| time.as_secs_f64() * 1e6 / (batches * BATCH) as f64;
    let shuffled = match window {
        0 => "as a whole".into(),
        window => format!("by {window}"),
    };
    let memory: Vec<String> = memory.iter().map(Memory::to_string).collect();
    Ok(format!(
        "  {shuffled:<10} {:>8.2} {:>6.2}  {:>6.1} {:>8.1} {:>6.1} {:>7.1} {:>7.1}   {}",
        open.as_secs_f64(),
        open_cpu.as_secs_f64(),
        per_row(first.draw),
        per_row(first.example),
        per_row(again.example),
        per_row(first.batch),
        per_row(again.batch),
        memory.join("  "),
    ))
}

/// Time of the batches, by what is done.
#[derive(Default)]
struct Times {
    draw: Duration,
    example: Duration,
    batch: Duration,
}

/// Time that this thread has had a processor, which other programs' work does not change; 0 where
/// the system does not say.
fn thread_time() -> Duration {
    let status = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let first = status.split_whitespace().next();
    Duration::from_nanos(first.and_then(|ns| ns.parse().ok()).unwrap_or(0))
}

/// The same of all threads, to a hundredth of a second.
fn process_time() -> Duration {
    let status = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name in parentheses may hold blanks; user and system time are the 12th and 13th after it.
    let fields = status.rsplit(')').next().unwrap_or_default();
    let ticks = fields.split_whitespace().skip(11).take(2);
    let ticks: u64 = ticks.filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
    Duration::from_millis(10 * ticks)
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
