//! Choices among a few ways to make a model.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Activation function, under its official name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Activation {
    /// Exact (erf) GELU.
    Gelu,
    /// Rectified linear unit.
    Relu,
    /// `x * sigmoid(x)`.
    Swish,
    /// GELU by a hyperbolic tangent, as GPT-2 has it.
    #[serde(rename = "gelu_new")]
    GeluNew,
    /// `x * sigmoid(1.702 x)`, as CLIP has it.
    #[serde(rename = "quick_gelu")]
    QuickGelu,
}

/// Shape of a classification head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Classifier {
    /// One linear layer.
    Linear,
    /// Linear, ReLU, linear.
    Mlp,
    /// Linear to twice the width, GELU, LayerNorm, linear, without dropout before it: ROSITA's head
    /// of answers.
    Answer,
}

/// How a region's appearance features and box become a hidden state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RegionProjection {
    /// One linear layer over features and six box values (Oscar).
    #[default]
    Joined,
    /// A linear layer over the features and one over five box values (x1, y1, x2, y2, w·h), summed
    /// (ROSITA). It is made of the same stored regions.
    Split,
}

/// How the loss of a row's labels becomes one number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LossReduction {
    /// Their sum.
    #[default]
    Sum,
    /// Their mean.
    Mean,
}
