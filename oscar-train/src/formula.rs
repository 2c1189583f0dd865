//! The three formulas of an optimiser step, as numbers of one kernel.
//!
//! | name | step |
//! |---|---|
//! | `adamw` | `p -= lr · c · m / (√v + ε)`, then `p -= lr · λ · p`, not for biases and LayerNorms; `c` corrects both moments for their start at zero |
//! | `bert_adam` | `p -= lr · (m / (√v + ε) + λ · p)` of every parameter, without a correction |
//! | `adam` | `p -= lr · m̂ / (√v̂ + ε)` with corrected moments, without decay |
//!
//! Oscar is trained by the first; ROSITA is pre-trained by the second and fine-tuned by the third.

use oscar_core::ops::AdamWStep;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::optim::AdamWConfig;

/// Which formula an optimiser follows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Formula {
    /// Oscar's: `pytorch_transformers`' `AdamW`.
    #[default]
    #[serde(rename = "adamw")]
    AdamW,
    /// ROSITA's pre-training: `BertAdam`.
    BertAdam,
    /// ROSITA's fine-tuning: PyTorch's `Adam`.
    Adam,
}

impl AdamWConfig {
    /// The constants of step `step`, counted from 1, of a parameter that `decays` as the first formula
    /// has it.
    pub(crate) fn numbers(
        &self,
        step: usize,
        lr: f64,
        correct_bias: bool,
        decays: bool,
    ) -> AdamWStep {
        let Self {
            beta1,
            beta2,
            epsilon,
            weight_decay,
            formula,
        } = *self;
        let root = (1.0 - beta2.powf(step as f64)).sqrt();
        let correction = root / (1.0 - beta1.powf(step as f64));
        let (epsilon, step_size, decay) = match formula {
            Formula::AdamW => {
                let correction = if correct_bias { correction } else { 1.0 };
                let decay = if decays { 1.0 - lr * weight_decay } else { 1.0 };
                (epsilon, lr * correction, decay)
            }
            // The kernel decays what the step left; the formula decays the old parameter.
            Formula::BertAdam => {
                let decay = 1.0 - lr * weight_decay;
                (epsilon, lr / decay, decay)
            }
            // √v̂ + ε = (√v + ε·root) / root.
            Formula::Adam => (epsilon * root, lr * correction, 1.0),
        };
        AdamWStep {
            beta1,
            beta2,
            epsilon,
            step_size,
            decay,
        }
    }
}
