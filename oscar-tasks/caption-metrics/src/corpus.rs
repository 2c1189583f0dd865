//! The metrics of a split whose references stay, while captions of it come and go.

use rayon::prelude::*;

use crate::{BleuCounts, CiderD, DocumentFrequencies, WEIGHTLESS, ptb, rouge_l};

/// Reference captions of the images of a split, tokenised as the COCO caption evaluation does.
#[derive(Debug)]
pub struct Corpus {
    /// By image.
    texts: Vec<Vec<String>>,
    cider: CiderD,
}

impl Corpus {
    /// The references of each image. Warns if CIDEr cannot tell captions apart, since there is a
    /// single image.
    pub fn new(references: &[Vec<&str>]) -> Self {
        let tokenised = |captions: &Vec<&str>| {
            let captions = captions.iter();
            captions.map(|caption| ptb::caption(caption)).collect()
        };
        let texts: Vec<Vec<String>> = references.par_iter().map(tokenised).collect();
        let cider = CiderD::new(DocumentFrequencies::of(&texts), &texts);
        if cider.is_weightless() {
            tracing::warn!("{WEIGHTLESS}");
        }
        Self { texts, cider }
    }

    /// CIDEr of captions, each of the image of a number, with the document frequencies of these
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

    /// BLEU-1 to BLEU-4, ROUGE-L and CIDEr, by name, of a caption of each image; and the share of
    /// captions that equal a reference, punctuation aside.
    pub fn of_all(&self, captions: &[String]) -> (Vec<(String, f64)>, f64) {
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
        named.push(("CIDEr".into(), mean(&self.cider.score(&tokenised))));
        let exact = tokenised.iter().zip(&self.texts);
        let exact = exact.filter(|(text, own)| own.contains(text)).count();
        (named, exact as f64 / captions.len().max(1) as f64)
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}
