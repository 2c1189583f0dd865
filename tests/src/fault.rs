//! Mistakes made on purpose, to show that the suite notices them.

use oscar_core::config::{Activation, ModelConfig};
use oscar_core::input::OscarInput;
use oscar_core::ops::OscarBackend;

/// One deviation from the official code.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    /// Another epsilon in the LayerNorms of text and encoder.
    LayerNormEpsilon(f64),
    /// Another epsilon in the LayerNorm of the regions.
    RegionLayerNormEpsilon(f64),
    /// Another activation than the configuration names.
    Activation(Activation),
    /// Dropout as in training.
    Dropout,
    /// Segments 0 and 1 change places.
    SwappedSegments,
    /// Every position may attend to every other.
    NoMask,
    /// Burn's AdamW: epsilon on the corrected root, decay before the step and of every parameter.
    BurnAdamW,
    /// No weight decay.
    NoDecay,
    /// Another epsilon in the optimiser.
    OptimizerEpsilon(f64),
    /// The moments are (not) corrected for their start, against what the set says.
    OtherBiasCorrection,
    /// The learning rate of the other order of optimiser and schedule.
    OtherScheduleOrder,
    /// Clipping per step where the set clips per batch, and the other way round.
    OtherClipping,
    /// No clipping.
    NoClipping,
    /// The loss of a batch is not divided by the number of batches in a step.
    NoLossScaling,
}

impl Fault {
    /// Applies what concerns the model's configuration.
    pub(crate) fn configure(fault: Option<Self>, config: &mut ModelConfig) {
        if fault != Some(Self::Dropout) {
            config.hidden_dropout_prob = 0.0;
            config.attention_probs_dropout_prob = 0.0;
        }
        match fault {
            Some(Self::LayerNormEpsilon(epsilon)) => config.layer_norm_eps = epsilon,
            Some(Self::RegionLayerNormEpsilon(epsilon)) => config.img_layer_norm_eps = epsilon,
            Some(Self::Activation(activation)) => config.hidden_act = activation,
            _ => {}
        }
    }

    /// Applies what concerns the model's input.
    pub(crate) fn spoil<B: OscarBackend>(fault: Option<Self>, input: &mut OscarInput<B>) {
        use oscar_core::input::AttentionMask::{Full, Padding};
        match fault {
            Some(Self::SwappedSegments) => {
                input.token_type_ids = input.token_type_ids.clone().neg().add_scalar(1);
            }
            Some(Self::NoMask) => {
                input.attention_mask = match &input.attention_mask {
                    Padding(mask) => Padding(mask.ones_like()),
                    Full(mask) => Full(mask.ones_like()),
                };
            }
            _ => {}
        }
    }
}
