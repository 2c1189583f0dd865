//! Synthetic data of given lengths, read in the way of real data.

use std::sync::Arc;

use oscar_core::input::{
    EncodedSequence, Example, ExampleSeed, ExampleSource, RegionHandle, RegionSource,
    SequenceEncoder, SourceError, TextB,
};
use oscar_task::{ClassData, EncodedRow, Evaluation, Logits, Target, TaskData};

use super::lengths::Row;

/// Words of BERT's vocabulary that are one piece each.
const WORDS: &[&str] = &[
    "a", "man", "woman", "dog", "street", "table", "with", "red", "on", "the", "sitting", "two",
    "people", "train", "next", "to", "white", "plate", "of", "food", "standing", "in", "field",
    "grass", "water", "holding", "bus", "large", "small", "tree", "sign", "building",
];

/// Answers of each question.
const ANSWERS: usize = 3;

/// Images share their values, each from another offset.
const PLACES: usize = 64;

/// `pieces` words, which depend on `number`.
pub fn text(pieces: usize, number: usize) -> String {
    let word = |at| WORDS[(number * 7 + at * (number % 5 + 1)) % WORDS.len()];
    (0..pieces).map(word).collect::<Vec<_>>().join(" ")
}

/// `count` values between 0 and 1, as region features have them.
pub fn values(count: usize) -> Vec<f32> {
    (0..count)
        .map(|at| (at * 7919 % 10_007) as f32 / 10_007.0)
        .collect()
}

/// Regions of as many images as there are rows.
struct Regions {
    dim: usize,
    counts: Vec<usize>,
    values: Vec<f32>,
}

impl RegionSource for Regions {
    fn region_dim(&self) -> usize {
        self.dim
    }

    fn num_regions(&self, row: usize) -> Result<usize, SourceError> {
        Ok(self.counts[row])
    }

    fn copy_regions(&self, row: usize, out: &mut [f32]) -> Result<(), SourceError> {
        let start = (row % PLACES) * self.dim;
        out.copy_from_slice(&self.values[start..start + out.len()]);
        Ok(())
    }
}

/// The rows of a work, in memory.
pub struct Rows {
    rows: Vec<Row>,
    regions: Arc<Regions>,
}

impl Rows {
    /// These rows, with regions of `dim` values.
    pub fn new(rows: Vec<Row>, dim: usize) -> Self {
        let counts: Vec<usize> = rows.iter().map(|row| row.regions).collect();
        let most = counts.iter().max().copied().unwrap_or(0);
        Self {
            rows,
            regions: Arc::new(Regions {
                dim,
                counts,
                values: values((most + PLACES) * dim),
            }),
        }
    }

    /// The regions of row `index`.
    ///
    /// # Errors
    ///
    /// Never: they are in memory.
    pub fn regions(&self, index: usize) -> Result<RegionHandle, SourceError> {
        RegionHandle::new(self.regions.clone(), index)
    }

    /// Both texts of row `index`.
    pub fn texts(&self, index: usize) -> (String, String) {
        let row = self.rows[index];
        (text(row.text_a, index), text(row.text_b, index + 1))
    }
}

/// Pre-training: captions and tags.
impl ExampleSource for Rows {
    fn len(&self) -> usize {
        self.rows.len()
    }

    fn get(&self, index: usize) -> Result<Example, SourceError> {
        let (text_a, text_b) = self.texts(index);
        Ok(Example {
            origin: format!("row {index}"),
            image: index.to_string(),
            text_a,
            text_b,
            text_b_is: TextB::Tags,
            regions: self.regions(index)?,
            graph: None,
            answers: Vec::new(),
        })
    }

    fn answer_rows(&self) -> &[u32] {
        &[]
    }
}

/// VQA: questions with scores of a few answers.
pub struct Questions {
    pub rows: Rows,
    pub encoder: Arc<SequenceEncoder>,
    /// Number of answers.
    pub labels: usize,
}

impl Questions {
    fn encode(&self, index: usize) -> Result<EncodedSequence, SourceError> {
        let (question, tags) = self.rows.texts(index);
        let regions = [self.rows.regions(index)?];
        let origin = format!("question {index}");
        Ok(self.encoder.encode(origin, &question, &tags, &regions)?)
    }
}

impl TaskData for Questions {
    fn len(&self) -> usize {
        ExampleSource::len(&self.rows)
    }

    fn region_dim(&self) -> usize {
        self.rows.regions.dim
    }
}

impl ClassData for Questions {
    fn example(&self, index: usize, _: ExampleSeed) -> Result<Vec<EncodedRow>, SourceError> {
        let answer = |at| ((index * 31 + at * 17) % self.labels) as u32;
        let scores = (0..ANSWERS).map(|at| (answer(at), 0.3 * (ANSWERS - at) as f32));
        Ok(vec![EncodedRow {
            sequences: vec![self.encode(index)?],
            target: Some(Target::Scores(scores.collect())),
        }])
    }

    fn evaluate(&self, _: &Logits) -> Result<Evaluation, SourceError> {
        Err("synthetic questions are timed, not scored".into())
    }
}
