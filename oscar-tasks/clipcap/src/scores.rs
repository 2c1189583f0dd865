//! Scores of captions: CIDEr in validations, all metrics when scoring.

use oscar_caption_metrics::Corpus;

use crate::data::Image;

/// Mean CIDEr of written captions.
pub(crate) const CIDER: &str = "CIDEr";

/// Share of captions that are word for word a caption of the picture.
pub(crate) const EXACT: &str = "Exact";

/// Reference captions of the pictures of a split.
#[derive(Debug)]
pub struct References {
    corpus: Corpus,
}

impl References {
    /// The captions of `images`.
    pub(crate) fn new(images: &[Image]) -> Self {
        let texts: Vec<Vec<&str>> = images
            .iter()
            .map(|image| {
                let captions = image.captions.iter();
                captions.map(|caption| caption.text.as_str()).collect()
            })
            .collect();
        Self {
            corpus: Corpus::new(&texts),
        }
    }

    /// CIDEr of captions, each of the picture of a number, and whether each equals a reference.
    pub fn of_each(&self, captions: &[(usize, String)]) -> Vec<(f64, bool)> {
        self.corpus.of_each(captions)
    }

    /// All metrics of a caption of each picture.
    pub(crate) fn all(&self, captions: &[String]) -> Vec<(String, f64)> {
        let (mut named, exact) = self.corpus.of_all(captions);
        named.push((EXACT.into(), exact));
        named
    }
}
