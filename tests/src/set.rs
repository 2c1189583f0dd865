//! The sets of a folder, and what kind each is.

use std::path::{Path, PathBuf};

use oscar_core::config::ModelConfig;
use serde_json::Value;

use crate::fault::Fault;
use crate::host::Tensors;
use crate::{captions, rosita, vqa};

/// What a set is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Outputs and gradients of the backbone.
    Backbone,
    /// Outputs, losses and gradients of pre-training.
    Pretraining,
    /// Optimiser steps of pre-training.
    PretrainingSteps,
    /// Outputs, loss and gradients of a classifier.
    Classification,
    /// Optimiser steps of a classifier.
    ClassificationSteps,
    /// Outputs, loss and gradients of a pair classifier.
    MultipleChoice,
    /// Optimiser steps of a pair classifier.
    MultipleChoiceSteps,
    /// Outputs, loss and gradients of a classifier of each choice.
    EachChoice,
    /// Optimiser steps of a classifier of each choice.
    EachChoiceSteps,
    /// Reports of loading one model's file into others.
    Transfer,
    /// Tokens, ids and decoded text.
    Tokenizer,
    /// Accuracies, normalised answers and scores to learn from.
    VqaEvaluation,
    /// Tokens, scores and rewards of captions.
    CaptionEvaluation,
    /// Ranks of a retrieval.
    RetrievalRanks,
    /// Loss, gradients and generated captions.
    Captioning,
    /// Optimiser steps of a captioner.
    CaptioningSteps,
    /// Which words may be drawn.
    SamplingFilter,
    /// Regions of pictures, and every stage on the way to them.
    Detector,
    /// Anchors, box decoding, suppression, region pooling, residual blocks.
    DetectorOperations,
    /// Decoded and resized pictures.
    Pictures,
    /// Prefixes, logits, loss and gradients of ClipCap.
    ClipCap,
    /// Optimiser steps of ClipCap.
    ClipCapSteps,
    /// From pictures to captions by ClipCap.
    ClipCapDecoding,
    /// The data that ClipCap learns from.
    ClipCapData,
    /// Pixels that CLIP reads.
    ClipPreprocessing,
    /// CLIP's image and text towers.
    ClipVision,
    /// Tokens and text of GPT-2.
    Gpt2Tokenizer,
    /// Tokens of CLIP's texts.
    ClipTokenizer,
    /// Losses, predictions and gradients of ROSITA's pre-training.
    RositaPretraining,
    /// Labels, losses, gradients and boxes of ROSITA's referring expressions.
    RositaReferring,
    /// Three passes of ROSITA's retrieval, its loss and gradients.
    RositaRetrieval,
    /// The optimal transport between words and regions.
    Transport,
    /// What ROSITA masks for recorded draws.
    RositaMasking,
}

impl Kind {
    /// The name in the table.
    pub fn name(self) -> &'static str {
        match self {
            Self::Backbone => "backbone",
            Self::Pretraining => "pre-training",
            Self::PretrainingSteps => "pre-training steps",
            Self::Classification => "classification",
            Self::ClassificationSteps => "fine-tuning steps",
            Self::MultipleChoice => "pair classification",
            Self::MultipleChoiceSteps => "pair fine-tuning steps",
            Self::EachChoice => "choice classification",
            Self::EachChoiceSteps => "choice fine-tuning steps",
            Self::Transfer => "transfer",
            Self::Tokenizer => "tokenizer",
            Self::VqaEvaluation => "VQA evaluation",
            Self::CaptionEvaluation => "caption evaluation",
            Self::RetrievalRanks => "retrieval ranks",
            Self::Captioning => "captioning",
            Self::CaptioningSteps => "captioning steps",
            Self::SamplingFilter => "sampling filter",
            Self::Detector => "detector",
            Self::DetectorOperations => "detector operations",
            Self::Pictures => "pictures",
            Self::ClipCap => "ClipCap",
            Self::ClipCapSteps => "ClipCap steps",
            Self::ClipCapDecoding => "ClipCap decoding",
            Self::ClipCapData => "ClipCap data",
            Self::ClipPreprocessing => "CLIP preprocessing",
            Self::ClipVision => "CLIP towers",
            Self::Gpt2Tokenizer => "GPT-2 tokenizer",
            Self::ClipTokenizer => "CLIP tokenizer",
            Self::RositaPretraining => "ROSITA pre-training",
            Self::RositaReferring => "ROSITA referring expressions",
            Self::RositaRetrieval => "ROSITA retrieval",
            Self::Transport => "optimal transport",
            Self::RositaMasking => "ROSITA masking",
        }
    }
}

/// A folder with reference outputs.
#[derive(Clone, Debug)]
pub struct Set {
    /// The folder's name.
    pub name: String,
    /// The folder.
    pub dir: PathBuf,
    /// `meta.json`; null if there is none.
    pub meta: Value,
    /// What it is about, or why it is not compared.
    pub kind: Result<Kind, String>,
}

impl Set {
    /// All sets of `dir`: its subfolders by name, or `dir` itself if it is one.
    ///
    /// # Errors
    ///
    /// If a folder cannot be read or a set's description is not JSON.
    pub fn discover(dir: &Path) -> Result<Vec<Self>, String> {
        let marks = ["meta.json", "expected.json", vqa::FILE, captions::FILE];
        if marks.iter().any(|mark| dir.join(mark).is_file()) {
            return Ok(vec![Self::open(dir)?]);
        }
        let failed = |error| format!("cannot read {}: {error}", dir.display());
        let mut folders = Vec::new();
        for entry in std::fs::read_dir(dir).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if path.is_dir() {
                folders.push(path);
            }
        }
        folders.sort();
        folders.iter().map(|folder| Self::open(folder)).collect()
    }

    /// The set in `dir`.
    ///
    /// # Errors
    ///
    /// If its description is not JSON.
    pub fn open(dir: &Path) -> Result<Self, String> {
        let meta = match dir.join("meta.json").is_file() {
            true => read_json(&dir.join("meta.json"))?,
            false => Value::Null,
        };
        let kind = match &meta {
            Value::Null => kind_of_files(dir)?,
            meta => kind_of_class(meta),
        };
        let meta = rosita::meta(meta);
        let name = dir
            .file_name()
            .unwrap_or(dir.as_os_str())
            .to_string_lossy()
            .into_owned();
        Ok(Self {
            name,
            dir: dir.into(),
            meta,
            kind,
        })
    }

    /// The model's configuration, without dropout unless the fault is just that.
    pub(crate) fn config(&self, fault: Option<Fault>) -> Result<ModelConfig, String> {
        let config = ModelConfig::from_file(self.dir.join("config.json"))
            .map_err(|error| error.to_string())?;
        let mut config = rosita::config(&self.meta, &self.dir, config)?;
        Fault::configure(fault, &mut config);
        Ok(config)
    }

    pub(crate) fn weights(&self) -> PathBuf {
        self.dir.join("model.safetensors")
    }

    pub(crate) fn inputs(&self) -> Result<Tensors, String> {
        let inputs = Tensors::from_file(&self.dir.join("inputs.safetensors"))?;
        Ok(rosita::inputs(&self.meta, inputs))
    }

    pub(crate) fn expected(&self) -> Result<Tensors, String> {
        let expected = Tensors::from_file(&self.dir.join("expected.safetensors"))?;
        Ok(rosita::expected(&self.meta, expected))
    }
}

/// Reads a JSON file.
pub(crate) fn read_json(path: &Path) -> Result<Value, String> {
    let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let text = std::fs::read_to_string(path).map_err(|error| failed(&error))?;
    serde_json::from_str(&text).map_err(|error| failed(&error))
}

fn kind_of_class(meta: &Value) -> Result<Kind, String> {
    let steps = meta.get("optim").is_some_and(|optim| !optim.is_null());
    match (meta.get("cls").and_then(Value::as_str), steps) {
        (Some("BertImgModel"), false) => Ok(Kind::Backbone),
        (Some("BertImgForPreTraining"), false) => Ok(Kind::Pretraining),
        (Some("BertImgForPreTraining"), true) => Ok(Kind::PretrainingSteps),
        (Some("ImageBertForSequenceClassification"), false) => Ok(Kind::Classification),
        (Some("ImageBertForSequenceClassification"), true) => Ok(Kind::ClassificationSteps),
        (Some("ImageBertForMultipleChoice"), false) => Ok(Kind::MultipleChoice),
        (Some("ImageBertForMultipleChoice"), true) => Ok(Kind::MultipleChoiceSteps),
        (Some("OscarForMultipleChoice"), false) => Ok(Kind::EachChoice),
        (Some("OscarForMultipleChoice"), true) => Ok(Kind::EachChoiceSteps),
        (Some("BertForImageCaptioning"), false) => Ok(Kind::Captioning),
        (Some("BertForImageCaptioning"), true) => Ok(Kind::CaptioningSteps),
        (Some("modeling_frcnn.GeneralizedRCNN" | "scene_graph_benchmark.AttrRCNN"), false) => {
            Ok(Kind::Detector)
        }
        (Some("train.ClipCaptionModel" | "train.ClipCaptionPrefix"), false) => Ok(Kind::ClipCap),
        (Some("train.ClipCaptionModel" | "train.ClipCaptionPrefix"), true) => {
            Ok(Kind::ClipCapSteps)
        }
        (Some(class), false) if class.starts_with("train.ClipCaptionModel + predict.") => {
            Ok(Kind::ClipCapDecoding)
        }
        (Some(class), false) if class.starts_with("parse_coco.main") => Ok(Kind::ClipCapData),
        (Some("clip.model.CLIP"), false) => Ok(Kind::ClipVision),
        (Some("rosita.modeling.pretrain_tasks.rosita.Net"), false) => Ok(Kind::RositaPretraining),
        (Some("rosita.modeling.pretrain_tasks.rosita.Net"), true) => Ok(Kind::PretrainingSteps),
        (Some("rosita.modeling.finetune_tasks.vqa.Net"), false) => Ok(Kind::Classification),
        (Some("rosita.modeling.finetune_tasks.vqa.Net"), true) => Ok(Kind::ClassificationSteps),
        (Some("rosita.modeling.finetune_tasks.itr.Net"), false) => Ok(Kind::RositaRetrieval),
        (Some("rosita.data.load_data_pretrain.DataSet"), false) => Ok(Kind::RositaMasking),
        (Some("rosita.modeling.finetune_tasks.rec.Net"), false) => Ok(Kind::RositaReferring),
        (Some("rosita.utils.optimal_transport.optimal_transport_dist"), false) => {
            Ok(Kind::Transport)
        }
        (Some(class), false) if class.starts_with("rosita.modeling.transformer") => {
            Ok(Kind::Backbone)
        }
        (Some(class), true) => Err(format!("steps of {class} are not implemented")),
        (Some(class), false) => Err(format!("{class} is not implemented")),
        (None, _) if note(meta).starts_with("top_k_top_p_filtering") => Ok(Kind::SamplingFilter),
        (None, _) if meta.get("resizes").is_some() => Ok(Kind::Pictures),
        (None, _) if has_precision(meta, "roi_align") => Ok(Kind::DetectorOperations),
        (None, _) if meta.get("pillow").is_some() && meta.get("mean").is_some() => {
            Ok(Kind::ClipPreprocessing)
        }
        (None, _) => Err("no model, and no kind this suite knows".into()),
    }
}

fn note(meta: &Value) -> &str {
    meta.get("note").and_then(Value::as_str).unwrap_or_default()
}

/// Whether the set says how exact its tensor `name` is.
fn has_precision(meta: &Value, name: &str) -> bool {
    let precisions = meta.get("fp32_vs_fp64");
    precisions.is_some_and(|precisions| precisions.get(name).is_some())
}

fn kind_of_files(dir: &Path) -> Result<Result<Kind, String>, String> {
    if dir.join(vqa::FILE).is_file() {
        return Ok(Ok(Kind::VqaEvaluation));
    }
    if dir.join(captions::FILE).is_file() {
        return Ok(Ok(Kind::CaptionEvaluation));
    }
    let path = dir.join("expected.json");
    if !path.is_file() {
        return Ok(Err(
            "neither meta.json nor expected.json: no kind this suite knows".into(),
        ));
    }
    let expected = read_json(&path)?;
    let entries: Vec<&Value> = match &expected {
        Value::Array(entries) => entries.iter().collect(),
        Value::Object(entries) => entries.values().collect(),
        _ => Vec::new(),
    };
    let all_have = |key| !entries.is_empty() && entries.iter().all(|e| e.get(key).is_some());
    Ok(if all_have("missing_keys") {
        Ok(Kind::Transfer)
    } else if all_have("ids") && dir.join("vocab.txt").is_file() {
        Ok(Kind::Tokenizer)
    } else if expected.get("encode").is_some() && dir.join("merges.txt").is_file() {
        Ok(Kind::Gpt2Tokenizer)
    } else if expected.get("clip_encode").is_some() && dir.join("merges.txt").is_file() {
        Ok(Kind::ClipTokenizer)
    } else if expected.get("i2t_ranks").is_some() {
        Ok(Kind::RetrievalRanks)
    } else {
        Err("an expected.json of no kind this suite knows".into())
    })
}
