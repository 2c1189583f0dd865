//! Oscar for captioning (official `BertForImageCaptioning`): backbone and masked-token head.

use burn::module::Module;
use burn::tensor::{Int, Tensor, backend::Backend};

use super::{Backbone, MlmHead};
use crate::checkpoint::Checkpointed;
use crate::config::ModelConfig;
use crate::input::OscarInput;
use crate::ops::OscarBackend;

/// Predicts masked caption tokens under a sequence-to-sequence attention mask.
#[derive(Module, Debug)]
pub struct OscarForCaptioning<B: Backend> {
    bert: Backbone<B>,
    cls: CaptioningHead<B>,
    tied: bool,
}

#[derive(Module, Debug)]
struct CaptioningHead<B: Backend> {
    predictions: MlmHead<B>,
}

impl<B: OscarBackend> OscarForCaptioning<B> {
    /// A model with fresh weights; `config.tie_weights` shares the word embedding with the output.
    pub fn new(config: &ModelConfig, device: &B::Device) -> Self {
        Self {
            bert: Backbone::new(config, device),
            cls: CaptioningHead {
                predictions: MlmHead::new(config, config.tie_weights, device),
            },
            tied: config.tie_weights,
        }
    }

    /// Vocabulary logits `[positions, vocab]` at `positions` `[positions]` of the flattened
    /// `[batch * seq]` sequence.
    pub fn forward(&self, input: OscarInput<B>, positions: Tensor<B, 1, Int>) -> Tensor<B, 2> {
        let sequence = self.bert.forward(input).sequence;
        let [batch, seq, hidden] = sequence.dims();
        let rows = sequence.reshape([batch * seq, hidden]).select(0, positions);
        self.cls
            .predictions
            .forward(rows, self.bert.word_embeddings())
    }
}

impl<B: Backend> Checkpointed<B> for OscarForCaptioning<B> {
    fn aliases(&self) -> &'static [(&'static str, &'static str)] {
        match self.tied {
            true => super::TIED_DECODER,
            false => &[],
        }
    }
}
