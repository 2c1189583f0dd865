//! An image alone: its object tags and its regions, without a text beside them.

use super::example::RegionHandle;
use super::sequence::{EncodedSequence, SequenceEncoder};

impl SequenceEncoder {
    /// Encodes an image alone, `[CLS] tags [SEP]` and its regions, of tags whose ids are known. The
    /// tags have the segment that they have beside a text, 1, and their `[SEP]` too; the `[CLS]` has 0.
    /// Without tags it is `[CLS] [SEP]`.
    pub fn encode_image(
        &self,
        origin: String,
        tags: &[u32],
        images: &[RegionHandle],
    ) -> EncodedSequence {
        let (special, config) = (self.tokenizer().special(), self.config());
        let fit = match config.use_tags {
            true => tags.len().min(config.max_seq_length.saturating_sub(2)),
            false => 0,
        };
        let mut input_ids = Vec::with_capacity(fit + 2);
        input_ids.push(special.cls);
        input_ids.extend_from_slice(&tags[..fit]);
        input_ids.push(special.sep);
        let mut token_type_ids = vec![1; input_ids.len()];
        token_type_ids[0] = 0;
        EncodedSequence {
            origin,
            input_ids,
            token_type_ids,
            regions: images
                .iter()
                .map(|image| (image.clone(), image.len().min(config.max_regions)))
                .collect(),
        }
    }
}
