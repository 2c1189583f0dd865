//! CLIP with both its towers: how well texts describe pictures (Radford et al., 2021, §3.1.2).

use std::path::Path;

use burn::tensor::Tensor;
use oscar_core::ops::Kernels;

use super::ClipError;
use super::extractor::{ClipExtractor, ClipOptions};
use super::file::ClipFile;
use super::text::ClipText;
use super::tokenizer::ClipTokenizer;

/// CLIP, open to compare pictures and texts.
pub struct ClipMatcher<B: Kernels> {
    image: ClipExtractor<B>,
    text: ClipText<B>,
    tokenizer: ClipTokenizer,
}

impl<B: Kernels> ClipMatcher<B> {
    /// Opens both towers of a file or a directory, as [`ClipVision::open`](super::ClipVision::open) does, and the merges of its
    /// tokens beside them, as [`ClipTokenizer::open`] does.
    ///
    /// # Errors
    ///
    /// As there; a file without the text tower.
    pub fn open(
        path: impl AsRef<Path>,
        options: ClipOptions,
        device: &B::Device,
    ) -> Result<Self, ClipError> {
        let file = ClipFile::open(path.as_ref())?;
        let text = ClipText::read(&file, device)?;
        let directory = file.path().parent().unwrap_or(Path::new("."));
        let tokenizer = ClipTokenizer::open(directory, text.config().vocab_size)?;
        let image = ClipExtractor::read(&file, options, device)?;
        let (of_pictures, of_texts) = (image.tower().embedding_dim(), text.config().embedding_dim);
        if of_pictures != of_texts {
            return Err(file.malformed(format!(
                "its pictures have embeddings of {of_pictures} values, its texts of {of_texts}"
            )));
        }
        Ok(Self {
            image,
            text,
            tokenizer,
        })
    }

    /// The half that reads pictures.
    pub fn image(&self) -> &ClipExtractor<B> {
        &self.image
    }

    /// The half that reads texts.
    pub fn text(&self) -> &ClipText<B> {
        &self.text
    }

    /// Embeddings of texts `[texts, embedding_dim]`, not normalised.
    ///
    /// # Errors
    ///
    /// A text that has more tokens than the tower reads.
    pub fn embed_texts(&self, texts: &[&str]) -> Result<Tensor<B, 2>, ClipError> {
        let most = self.text.config().context_length;
        let encode = |text: &&str| {
            let tokens = self.tokenizer.encode(text);
            match tokens.len() <= most {
                true => Ok(tokens),
                false => Err(ClipError::LongText {
                    text: text.to_string(),
                    tokens: tokens.len(),
                    most,
                }),
            }
        };
        let tokens: Vec<Vec<u32>> = texts.iter().map(encode).collect::<Result<_, _>>()?;
        Ok(self.text.forward(&tokens))
    }

    /// The cosine of every picture's embedding and every text's, `[pictures, texts]`; of embeddings
    /// `[pictures, embedding_dim]` and `[texts, embedding_dim]`.
    pub fn cosines(pictures: Tensor<B, 2>, texts: Tensor<B, 2>) -> Tensor<B, 2> {
        unit(pictures).matmul(unit(texts).transpose())
    }

    /// The probability of each text among all of them, for one picture: the softmax of its cosines times
    /// the learned scale.
    pub fn probabilities(&self, cosines: &[f32]) -> Vec<f32> {
        softmax(cosines, self.text.logit_scale())
    }
}

/// Rows divided by their length.
fn unit<B: Kernels>(rows: Tensor<B, 2>) -> Tensor<B, 2> {
    let squares = rows.clone() * rows.clone();
    rows / squares.sum_dim(1).sqrt()
}

fn softmax(values: &[f32], scale: f32) -> Vec<f32> {
    let highest = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let powers: Vec<f32> = values
        .iter()
        .map(|value| (scale * (value - highest)).exp())
        .collect();
    let sum: f32 = powers.iter().sum();
    powers.iter().map(|power| power / sum).collect()
}

#[cfg(test)]
mod tests {
    use super::softmax;

    #[test]
    fn probabilities_follow_the_scaled_cosines() {
        let found = softmax(&[0.30, 0.25, 0.20], 100.0);
        let expected = [0.993_262, 0.006_692_6, 0.000_045_1];
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-5, "{found} {expected}");
        }
    }
}
