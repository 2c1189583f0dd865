//! What `oscar-bin bench` measures.

use clap::ValueEnum;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Work {
    /// Pre-training steps: MLM and contrastive loss
    Pretrain,
    /// VQA training steps: 3,129 answers, binary cross entropy
    Vqa,
    /// Scoring of image-caption pairs
    Retrieval,
    /// Captions by beam search: 5 beams, 20 tokens
    Caption,
    /// Regions of photographs of 640 x 480 pixels by both detectors, whose size is the published one
    /// unless --preset is tiny
    Detector,
    /// Embeddings of pictures by CLIP's ViT-B/32, whose size is the published one unless --preset is tiny
    Clip,
    /// Captions by ClipCap with GPT-2 small: 5 beams, 20 tokens; likewise
    Clipcap,
    /// Training steps of ClipCap's MLP variant with GPT-2 small: 14 tokens each; likewise
    ClipcapTrain,
    /// Exact search in indexes of generated vectors; by itself
    Search,
}

impl Work {
    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pretrain => "pretrain",
            Self::Vqa => "vqa",
            Self::Retrieval => "retrieval",
            Self::Caption => "caption",
            Self::Detector => "detector",
            Self::Clip => "clip",
            Self::Clipcap => "clipcap",
            Self::ClipcapTrain => "clipcap-train",
            Self::Search => "search",
        }
    }
}
