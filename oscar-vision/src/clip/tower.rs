//! CLIP's image tower, whichever it is.

use std::path::Path;

use burn::tensor::Tensor;
use oscar_core::ops::Kernels;

use super::ClipError;
use super::file::{ClipFile, TowerKind};
use super::resnet::ModifiedResNet;
use super::vit::VisionTransformer;

/// The image tower of a CLIP.
#[derive(Clone, Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "there is one, and it is not moved about"
)]
pub enum ClipVision<B: Kernels> {
    /// ViT-B/32, ViT-B/16, ViT-L/14.
    Transformer(VisionTransformer<B>),
    /// RN50, RN101, RN50x4, RN50x16, RN50x64.
    ResNet(ModifiedResNet<B>),
}

impl<B: Kernels> ClipVision<B> {
    /// Reads the tower of OpenAI's file (TorchScript, or a dictionary of weights), of a file in
    /// HuggingFace's layout, or of a directory with one. Which tower it is and its sizes follow from the
    /// weights; a `config.json` beside those of HuggingFace may name the activation and the number of
    /// heads. Nothing in a file is executed.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, is damaged, or is not a CLIP.
    pub fn open(path: impl AsRef<Path>, device: &B::Device) -> Result<Self, ClipError> {
        Self::read(&ClipFile::open(path.as_ref())?, device)
    }

    pub(super) fn read(file: &ClipFile, device: &B::Device) -> Result<Self, ClipError> {
        Ok(match file.kind() {
            TowerKind::Transformer => Self::Transformer(VisionTransformer::read(file, device)?),
            TowerKind::ResNet => Self::ResNet(ModifiedResNet::read(file, device)?),
        })
    }

    /// Pixels `[batch, 3, side, side]` to embeddings `[batch, embedding_dim]`. They are not normalised.
    pub fn forward(&self, pixels: Tensor<B, 4>) -> Tensor<B, 2> {
        match self {
            Self::Transformer(tower) => tower.forward(pixels),
            Self::ResNet(tower) => tower.forward(pixels),
        }
    }

    /// Side of the pictures, in pixels.
    pub fn image_size(&self) -> usize {
        match self {
            Self::Transformer(tower) => tower.config().image_size,
            Self::ResNet(tower) => tower.config().image_size,
        }
    }

    /// Values of an embedding.
    pub fn embedding_dim(&self) -> usize {
        match self {
            Self::Transformer(tower) => tower.config().embedding_dim,
            Self::ResNet(tower) => tower.config().embedding_dim,
        }
    }

    /// The published name of its sizes (`ViT-B/32`, `RN50x4`), else a description.
    pub fn name(&self) -> String {
        match self {
            Self::Transformer(tower) => tower.config().name(),
            Self::ResNet(tower) => tower.config().name(),
        }
    }
}

/// Whether `path` is a file or a directory of weights with a tower that [`ClipVision::open`] reads.
#[must_use]
pub fn is_clip(path: &Path) -> bool {
    ClipFile::open(path).is_ok()
}
