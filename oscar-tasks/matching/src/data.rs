//! Pairs of a split.

use std::path::Path;

use oscar_core::input::{ExampleSeed, RegionHandle, SequenceEncoder, SourceError};
use oscar_datasets::matching::Pair;
use oscar_datasets::{RowSet, SharedImages, open_images};
use oscar_task::{
    ClassData, EncodedRow, Evaluation, Logits, Predictions, Role, Target, TaskData, required,
};
use serde::Serialize;

use crate::Split;
use crate::metrics::{average_precision, roc_auc};

/// A split, opened: every image was found.
pub struct MatchingData {
    pairs: RowSet<Pair>,
    source: SharedImages,
    encoder: SequenceEncoder,
}

impl MatchingData {
    /// Opens `split` and checks every row.
    ///
    /// # Errors
    ///
    /// A file that cannot be read; a row without words, without label where one is needed, or
    /// whose image has no regions stored.
    pub fn open(split: &Split, role: Role, encoder: SequenceEncoder) -> Result<Self, SourceError> {
        let source = open_images(required(&split.regions, "regions", "the region store")?)?;
        let pairs = required(&split.pairs, "pairs", "the file of pairs")?;
        let pairs: RowSet<Pair> = RowSet::open(pairs, Some(source.clone()))?;
        if role != Role::Evaluate {
            pairs.require_labels()?;
        }
        Ok(Self {
            pairs,
            source,
            encoder,
        })
    }

    /// The file of pairs.
    pub fn path(&self) -> &Path {
        self.pairs.path()
    }
}

impl TaskData for MatchingData {
    fn len(&self) -> usize {
        self.pairs.len()
    }

    fn region_dim(&self) -> usize {
        self.source.region_dim()
    }

    fn extractor(&self) -> Option<String> {
        self.source.extractor().map(String::from)
    }
}

impl ClassData for MatchingData {
    fn example(&self, index: usize, _: ExampleSeed) -> Result<Vec<EncodedRow>, SourceError> {
        let (pair, image) = (&self.pairs[index], self.pairs.images(index)[0] as usize);
        let tags = match &pair.tags {
            Some(tags) => tags.clone(),
            None => self.source.tag_text(image)?,
        };
        let regions = [RegionHandle::new(self.source.clone(), image)?];
        let origin = self.pairs.origin(index);
        let sequence = self.encoder.encode(origin, &pair.text, &tags, &regions)?;
        Ok(vec![EncodedRow {
            sequences: vec![sequence],
            target: pair.label.map(|label| Target::Class(u32::from(label))),
        }])
    }

    fn evaluate(&self, logits: &Logits) -> Result<Evaluation, SourceError> {
        #[derive(Serialize)]
        struct Prediction<'a> {
            image: &'a str,
            text: &'a str,
            score: f32,
        }
        let scores: Vec<f32> = logits.rows().map(matched).collect();
        let mut content = Vec::new();
        for (pair, &score) in self.pairs.iter().zip(&scores) {
            let (image, text) = (pair.image.as_str(), pair.text.as_str());
            serde_json::to_writer(&mut content, &Prediction { image, text, score })?;
            content.push(b'\n');
        }
        let scored: Vec<(f32, bool)> = self
            .pairs
            .iter()
            .zip(&scores)
            .filter_map(|(pair, &score)| Some((score, pair.label?)))
            .collect();
        Ok(Evaluation {
            scores: self.scores(&scored),
            examples: scored.len(),
            predictions: Some(Predictions {
                extension: "jsonl",
                content,
            }),
            ..Evaluation::default()
        })
    }
}

impl MatchingData {
    fn scores(&self, scored: &[(f32, bool)]) -> Vec<(String, f64)> {
        if scored.is_empty() {
            return Vec::new();
        }
        let right = scored.iter().filter(|(s, label)| (*s >= 0.5) == *label);
        let accuracy = right.count() as f64 / scored.len() as f64;
        let mut scores = vec![("accuracy".to_string(), accuracy)];
        // Without both classes there is no curve to have an area under.
        scores.extend(roc_auc(scored).map(|value| ("roc_auc".to_string(), value)));
        scores.extend(average_precision(scored).map(|v| ("average_precision".to_string(), v)));
        scores
    }
}

/// Probability of the second class of two.
fn matched(logits: &[f32]) -> f32 {
    match logits {
        [no, yes] => 1.0 / (1.0 + (no - yes).exp()),
        [one] => *one,
        _ => f32::NAN,
    }
}
