//! Scores of a set of captions.

use rayon::prelude::*;
use serde_json::{Map, Value, json};

use crate::bleu::BleuCounts;
use crate::cider::{CiderD, scst_text};
use crate::df::DocumentFrequencies;
use crate::error::{MetricsError, Result};
use crate::ngrams::MAX_ORDER;
use crate::ptb;
use crate::read::{Candidates, References, some_of};
use crate::rouge::rouge_l;

/// Document frequencies that know a smaller share of the references' words are probably of other texts.
const FEW_WORDS: f64 = 0.5;

/// How to treat images with references but without a candidate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unmatched {
    /// They are an error: a forgotten image would make the score wrong.
    #[default]
    Refuse,
    /// They are left out: only the images with a candidate are scored.
    LeaveOut,
}

/// Images with one candidate and at least one reference each, in the order of the references.
#[derive(Debug)]
pub struct Captions {
    ids: Vec<String>,
    candidates: Vec<String>,
    references: Vec<Vec<String>>,
}

/// The scores of an image's caption.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ImageScores {
    /// The image.
    pub id: String,
    /// BLEU-1 to BLEU-4 of this caption.
    pub bleu: [f64; MAX_ORDER],
    /// ROUGE-L.
    pub rouge_l: f64,
    /// CIDEr with the frequencies of all references.
    pub cider: f64,
    /// CIDEr-D with given frequencies.
    pub cider_d: Option<f64>,
    /// METEOR.
    pub meteor: Option<f64>,
    /// SPICE.
    pub spice: Option<f64>,
}

/// The scores of a set of captions.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Scores {
    /// BLEU-1 to BLEU-4 of the corpus.
    pub bleu: [f64; MAX_ORDER],
    /// The counts from which BLEU is computed.
    pub counts: BleuCounts,
    /// ROUGE-L, mean of the images.
    pub rouge_l: f64,
    /// CIDEr, mean of the images.
    pub cider: f64,
    /// Whether no word of the references weighs anything in CIDEr: see [`CiderD::is_weightless`].
    pub weightless: bool,
    /// CIDEr-D with given frequencies, mean of the images.
    pub cider_d: Option<f64>,
    /// METEOR of the corpus, if its jar was run.
    pub meteor: Option<f64>,
    /// SPICE, mean of the images, if its jar was run.
    pub spice: Option<f64>,
    /// By image.
    pub images: Vec<ImageScores>,
}

impl Captions {
    /// Joins candidates and references by image.
    ///
    /// pycocoevalcap stops with a failed assertion where this gives an error.
    ///
    /// # Errors
    ///
    /// A candidate's image has no reference; or, unless they are to be left out, an image has no
    /// candidate. The error names how many, and the first of them.
    pub fn join(
        candidates: Candidates,
        references: References,
        unmatched: Unmatched,
    ) -> Result<Self> {
        let References { images, places } = references;
        let mut placed: Vec<Option<String>> = vec![None; images.len()];
        let mut unknown = Vec::new();
        for (id, caption) in candidates.images {
            match places.get(&id) {
                Some(&place) => placed[place] = Some(caption),
                None => unknown.push(id),
            }
        }
        if !unknown.is_empty() {
            return Err(MetricsError::images(
                format!(
                    "images with a caption that are not among the references: {}",
                    some_of(&unknown)
                ),
                "give the references of the same split",
            ));
        }
        let mut joined = Self {
            ids: Vec::new(),
            candidates: Vec::new(),
            references: Vec::new(),
        };
        let (mut bare, mut missing) = (Vec::new(), Vec::new());
        for ((id, texts), candidate) in images.into_iter().zip(placed) {
            match candidate {
                None => missing.push(id),
                Some(_) if texts.is_empty() => bare.push(id),
                Some(candidate) => {
                    joined.ids.push(id);
                    joined.candidates.push(candidate);
                    joined.references.push(texts);
                }
            }
        }
        if !bare.is_empty() {
            return Err(MetricsError::images(
                format!(
                    "images with a caption whose list of references is empty: {}",
                    some_of(&bare)
                ),
                "add their references, or remove their captions",
            ));
        }
        if !missing.is_empty() && unmatched == Unmatched::Refuse {
            return Err(MetricsError::images(
                format!(
                    "images with references but without a caption: {}",
                    some_of(&missing)
                ),
                "caption them, or score only the images that have a caption",
            ));
        }
        Ok(joined)
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether there is no image.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Ids of the images.
    pub fn ids(&self) -> &[String] {
        &self.ids
    }

    /// The captions as metrics are computed on: words and blanks.
    pub fn tokenized(&self) -> Self {
        let references = self.references.par_iter();
        Self {
            ids: self.ids.clone(),
            candidates: self
                .candidates
                .par_iter()
                .map(|text| ptb::caption(text))
                .collect(),
            references: references
                .map(|texts| texts.iter().map(|text| ptb::caption(text)).collect())
                .collect(),
        }
    }

    /// The candidates, by image.
    pub fn candidates(&self) -> &[String] {
        &self.candidates
    }

    /// The references, by image.
    pub fn references(&self) -> &[Vec<String>] {
        &self.references
    }

    /// CIDEr-D of each candidate with given document frequencies, on captions as they are: the
    /// reward of self-critical training.
    ///
    /// # Errors
    ///
    /// The frequencies know no word of the references.
    pub fn cider_d(&self, frequencies: DocumentFrequencies) -> Result<Vec<f64>> {
        let texts = |texts: &Vec<String>| texts.iter().map(|text| scst_text(text)).collect();
        let references: Vec<Vec<String>> = self.references.par_iter().map(texts).collect();
        let known = frequencies.known_words(self.references.iter().flatten().map(String::as_str));
        if known == 0.0 {
            return Err(MetricsError::images(
                "the document frequencies know no word of the references",
                "give those of the same data set, counted on texts in the same form",
            ));
        }
        if known < FEW_WORDS {
            tracing::warn!(
                "the document frequencies know {:.0}% of the references' words only: are they of \
                 this data set, and counted on texts in the same form?",
                100.0 * known
            );
        }
        let candidates: Vec<String> = self.candidates.iter().map(|text| scst_text(text)).collect();
        Ok(CiderD::new(frequencies, &references).score(&candidates))
    }
}

/// Scores tokenised captions ([`Captions::tokenized`]): BLEU, ROUGE-L and CIDEr.
pub fn score(captions: &Captions) -> Scores {
    let (candidates, references) = (&captions.candidates, &captions.references);
    let pairs = candidates.par_iter().zip(references);
    let (counts, rouge): (Vec<BleuCounts>, Vec<f64>) = pairs
        .map(|(candidate, texts)| {
            let counts = BleuCounts::of(candidate, texts);
            (counts, rouge_l(candidate, texts))
        })
        .unzip();
    let scorer = CiderD::new(DocumentFrequencies::of(references), references);
    let cider = scorer.score(candidates);
    let total = counts
        .iter()
        .fold(BleuCounts::default(), |sum, counts| sum.plus(counts));
    let images = captions
        .ids
        .iter()
        .zip(counts)
        .zip(rouge.iter().zip(&cider));
    Scores {
        bleu: total.scores(),
        counts: total,
        rouge_l: mean(&rouge),
        cider: mean(&cider),
        weightless: scorer.is_weightless(),
        cider_d: None,
        meteor: None,
        spice: None,
        images: images
            .map(|((id, counts), (&rouge_l, &cider))| ImageScores {
                id: id.clone(),
                bleu: counts.scores(),
                rouge_l,
                cider,
                cider_d: None,
                meteor: None,
                spice: None,
            })
            .collect(),
    }
}

impl Scores {
    /// Adds CIDEr-D with given frequencies, by image.
    pub fn set_cider_d(&mut self, by_image: &[f64]) {
        self.cider_d = Some(mean(by_image));
        let images = self.images.iter_mut().zip(by_image);
        images.for_each(|(image, &score)| image.cider_d = Some(score));
    }

    /// Adds METEOR, of the corpus and by image.
    pub fn set_meteor(&mut self, corpus: f64, by_image: &[f64]) {
        self.meteor = Some(corpus);
        let images = self.images.iter_mut().zip(by_image);
        images.for_each(|(image, &score)| image.meteor = Some(score));
    }

    /// Adds SPICE, by image.
    pub fn set_spice(&mut self, by_image: &[f64]) {
        self.spice = Some(mean(by_image));
        let images = self.images.iter_mut().zip(by_image);
        images.for_each(|(image, &score)| image.spice = Some(score));
    }

    /// Scores by name; METEOR and SPICE are null if they were not computed, CIDEr-D is there if it
    /// was.
    pub fn to_json(&self) -> Value {
        let mut document = named(&self.bleu, self.rouge_l, self.cider);
        if let Some(score) = self.cider_d {
            document.insert("CIDEr-D".into(), json!(score));
        }
        document.insert("METEOR".into(), json!(self.meteor));
        document.insert("SPICE".into(), json!(self.spice));
        document.insert(
            "candidate_length".into(),
            json!(self.counts.candidate_length),
        );
        document.insert(
            "reference_length".into(),
            json!(self.counts.reference_length),
        );
        document.insert("ngram_matches".into(), json!(self.counts.matches));
        document.insert("images".into(), json!(self.images.len()));
        Value::Object(document)
    }
}

impl ImageScores {
    /// Scores by name, those that were computed.
    pub fn to_json(&self) -> Value {
        let mut document = Map::new();
        document.insert("image_id".into(), json!(self.id));
        document.extend(named(&self.bleu, self.rouge_l, self.cider));
        let rest = [
            ("CIDEr-D", self.cider_d),
            ("METEOR", self.meteor),
            ("SPICE", self.spice),
        ];
        for (name, score) in rest {
            if let Some(score) = score {
                document.insert(name.into(), json!(score));
            }
        }
        Value::Object(document)
    }
}

fn named(bleu: &[f64; MAX_ORDER], rouge_l: f64, cider: f64) -> Map<String, Value> {
    let bleu = bleu.iter().zip(1..);
    let mut scores: Map<String, Value> = bleu
        .map(|(score, n)| (format!("BLEU-{n}"), json!(score)))
        .collect();
    scores.insert("ROUGE-L".into(), json!(rouge_l));
    scores.insert("CIDEr".into(), json!(cider));
    scores
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}
