//! Scores of captions: CIDEr in validations, all metrics when scoring.

use oscar_caption_metrics::{BleuCounts, CiderD, DocumentFrequencies, ptb, rouge_l};
use rayon::prelude::*;

use crate::data::Image;

/// Mean CIDEr of written captions.
pub(crate) const CIDER: &str = "CIDEr";

/// Share of captions that are word for word a caption of the picture.
pub(crate) const EXACT: &str = "Exact";

/// Reference captions of the pictures of a split.
#[derive(Debug)]
pub struct References {
    /// Tokenised as the COCO caption evaluation does, by picture.
    texts: Vec<Vec<String>>,
    cider: CiderD,
}

impl References {
    /// The captions of `images`.
    pub(crate) fn new(images: &[Image]) -> Self {
        let tokenised = |image: &Image| {
            let captions = image.captions.iter();
            captions
                .map(|caption| ptb::caption(&caption.text))
                .collect()
        };
        let texts: Vec<Vec<String>> = images.par_iter().map(tokenised).collect();
        Self {
            cider: CiderD::new(DocumentFrequencies::of(&texts), &texts),
            texts,
        }
    }

    /// CIDEr of captions, each of the picture of a number, with the document frequencies of these
    /// references; and whether each equals a reference, punctuation aside.
    pub fn of_each(&self, captions: &[(usize, String)]) -> Vec<(f64, bool)> {
        let tokenised: Vec<(usize, String)> = captions
            .par_iter()
            .map(|(image, text)| (*image, ptb::caption(text)))
            .collect();
        let scores = self.cider.score_each(&tokenised).into_iter();
        let exact = tokenised
            .iter()
            .map(|(image, text)| self.texts[*image].contains(text));
        scores.zip(exact).collect()
    }

    /// All metrics of a caption of each picture.
    pub(crate) fn all(&self, captions: &[String]) -> Vec<(String, f64)> {
        let tokenised: Vec<String> = captions.par_iter().map(|text| ptb::caption(text)).collect();
        let pairs = tokenised.par_iter().zip(&self.texts);
        let (counts, rouge): (Vec<BleuCounts>, Vec<f64>) = pairs
            .map(|(caption, texts)| (BleuCounts::of(caption, texts), rouge_l(caption, texts)))
            .unzip();
        let total = counts
            .iter()
            .fold(BleuCounts::default(), |sum, counts| sum.plus(counts));
        let bleu = total.scores().into_iter().zip(1..);
        let mut named: Vec<(String, f64)> = bleu
            .map(|(score, n)| (format!("BLEU-{n}"), score))
            .collect();
        named.push(("ROUGE-L".into(), mean(&rouge)));
        named.push((CIDER.into(), mean(&self.cider.score(&tokenised))));
        let exact = tokenised.iter().zip(&self.texts);
        let exact = exact.filter(|(text, own)| own.contains(text)).count();
        named.push((EXACT.into(), exact as f64 / captions.len().max(1) as f64));
        named
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}
