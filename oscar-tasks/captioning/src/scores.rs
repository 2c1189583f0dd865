//! Scores of captions: CIDEr in validations and as the reward of training, all metrics when
//! scoring.

use oscar_caption_metrics::{CiderD, Corpus, DocumentFrequencies, scst_text};
use oscar_core::input::SourceError;
use oscar_datasets::DatasetError;
use rayon::prelude::*;

use crate::data::Image;
#[cfg(feature = "train")]
use crate::{data::CaptionData, scst::ScstSection};

/// Least share of the references' words that document frequencies of the same kind of text know.
#[cfg(feature = "train")]
const FEW_WORDS: f64 = 0.5;

/// Reference captions of the images of a split.
#[derive(Debug)]
pub struct References {
    corpus: Corpus,
    /// The tokens of each, by image.
    ids: Vec<Vec<Vec<u32>>>,
}

/// Share of captions that are word for word a caption of the image.
pub(crate) const EXACT: &str = "Exact";

/// Scores of captions by name, as they are printed.
pub(crate) type Named = Vec<(String, f64)>;

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
        let ids = images.iter().map(|image| {
            let captions = image.captions.iter();
            captions.map(|caption| caption.ids.clone()).collect()
        });
        Self {
            corpus: Corpus::new(&texts),
            ids: ids.collect(),
        }
    }

    /// CIDEr of captions, each of the image of a number, with the document frequencies of these
    /// references.
    #[cfg(feature = "train")]
    pub fn cider(&self, captions: &[(usize, String)]) -> Vec<f64> {
        let scored = self.corpus.of_each(captions).into_iter();
        scored.map(|(cider, _)| cider).collect()
    }

    /// Whether a caption equals a reference of the image word for word.
    pub fn is_exact(&self, image: usize, ids: &[u32]) -> bool {
        self.ids[image].iter().any(|reference| reference == ids)
    }

    /// All metrics of a caption of each image.
    pub(crate) fn all(&self, captions: &[String]) -> Named {
        self.corpus.of_all(captions).0
    }
}

/// The reward of captions of the training images: CIDEr-D, on texts as they are.
#[derive(Debug)]
pub struct Reward {
    cider_d: CiderD,
}

impl Reward {
    /// The reward for captions of the images of `data`.
    ///
    /// # Errors
    ///
    /// Document frequencies that cannot be read, or that know no word of the captions.
    #[cfg(feature = "train")]
    pub(crate) fn new(section: &ScstSection, data: &CaptionData) -> Result<Self, SourceError> {
        let references: Vec<Vec<String>> = data
            .images()
            .par_iter()
            .map(|image| {
                let captions = image.captions.iter();
                captions.map(|caption| scst_text(&caption.text)).collect()
            })
            .collect();
        let frequencies = match &section.document_frequencies {
            None => DocumentFrequencies::of(&references),
            Some(path) => {
                let frequencies = DocumentFrequencies::read(path)?;
                let words = references.iter().flatten().map(String::as_str);
                let known = frequencies.known_words(words);
                // All texts have <eos>, whatever else they say.
                if known < FEW_WORDS {
                    let found = format!(
                        "it knows {:.0} % of the words of {}",
                        100.0 * known,
                        data.path().display()
                    );
                    let fix = "give the frequencies of this data set, counted on texts in the same \
                               form, or leave the key out";
                    return Err(DatasetError::malformed(path, found, fix).into());
                }
                frequencies
            }
        };
        Ok(Self::with(frequencies, &references))
    }

    /// The reward for captions of images with these references, in the form that
    /// [`scst_text`] gives them.
    pub fn with(frequencies: DocumentFrequencies, references: &[Vec<String>]) -> Self {
        Self {
            cider_d: CiderD::new(frequencies, references),
        }
    }

    /// CIDEr-D of captions, each of the image of a number.
    pub fn cider_d(&self, captions: &[(usize, String)]) -> Vec<f64> {
        let captions: Vec<(usize, String)> = captions
            .iter()
            .map(|(image, text)| (*image, scst_text(text)))
            .collect();
        self.cider_d.score_each(&captions)
    }
}
