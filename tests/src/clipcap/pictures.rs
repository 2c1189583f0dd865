//! Preprocessing of pictures, and CLIP's towers.

use std::path::{Path, PathBuf};

use burn::tensor::{Tensor, TensorData};
use oscar_core::ops::{Kernels, OscarBackend};
use oscar_vision::PictureLimits;
use oscar_vision::clip::preprocess::{Pipeline, Raster, STD, normalised, preprocess};
use oscar_vision::clip::{ClipMatcher, ClipText, ClipVision, ModifiedResNet, VisionTransformer};
use oscar_vision::resample::{Filter, Pixels, resample};

use crate::check::{Checks, Report};
use crate::host::HostTensor;
use crate::set::Set;

/// Two roundings of a number of size 2.
const NORMALISED: f64 = 3e-7;

/// Levels by which CMYK pictures differ: Pillow resizes their four channels.
const CMYK_LEVELS: f64 = 2.0;

/// A picture file as the official code opens it. JPEG files as the set's decoder read them, if it has
/// them: decoders differ by a few units.
pub(super) fn read(path: &Path) -> Result<Raster, String> {
    let decoded = path
        .parent()
        .and_then(Path::parent)
        .zip(path.file_stem())
        .map(|(set, stem)| set.join("decoded").join(stem).with_extension("png"));
    let path = match decoded {
        Some(decoded) if decoded.is_file() => decoded,
        _ => path.to_path_buf(),
    };
    let name = path.display().to_string();
    let bytes = std::fs::read(&path).map_err(|error| format!("{name}: {error}"))?;
    let picture = Raster::decode(&name, &bytes, PictureLimits::default());
    picture.map_err(|error| error.to_string())
}

fn bytes(pixels: &Pixels<3>) -> impl Iterator<Item = f64> {
    let values = pixels.values.iter().flatten();
    values.map(|value| f64::from(*value))
}

/// The largest difference.
fn worst(got: impl IntoIterator<Item = f64>, expected: &[f64]) -> f64 {
    let pairs = got.into_iter().zip(expected);
    pairs.fold(0.0, |worst, (got, expected)| {
        f64::max(worst, (got - expected).abs())
    })
}

/// The pixels of every picture of a set, and resized ones; all equal, but for CMYK pictures, which are
/// RGB before they are resized.
pub fn check_preprocessing(set: &Set) -> Result<Report, String> {
    let mut checks = Checks::new(set.expected()?, &set.meta);
    let images = set.dir.join("images");
    for name in checks.expected_under("") {
        let (kind, rest) = name.split_once('.').ok_or(format!("{name} has no dot"))?;
        let expected = checks.expected.get(&name)?.clone();
        let levels = match set.meta["pictures"][rest]["mode"] == "CMYK" {
            true if !kind.starts_with("hf_") => CMYK_LEVELS,
            _ => 0.0,
        };
        let mut compare = |got: &Pixels<3>| {
            let shape = vec![got.height, got.width, 3];
            checks.exact(&format!("{name}: shape"), &shape, &expected.shape);
            let worst = worst(bytes(got), &expected.data);
            checks.within_tensor(&name, worst, levels);
        };
        if kind == "resize" {
            let size = rest
                .split_once('x')
                .and_then(|(width, height)| Some((width.parse().ok()?, height.parse().ok()?)));
            let size = size.ok_or(format!("{name} is not resize.WIDTHxHEIGHT"))?;
            let pixels = read(&images.join("tall.png"))?.into_rgb();
            compare(&resample(pixels, size, Filter::Bicubic));
            continue;
        }
        let (kind, side) = kind.rsplit_once('_').ok_or(format!("{name} has no size"))?;
        let side: usize = side.parse().map_err(|_| format!("{name} has no size"))?;
        let picture = read(&images.join(rest))?;
        match kind {
            "u8" => compare(&preprocess(picture, side, Pipeline::OpenAi)),
            "hf_u8" => compare(&preprocess(picture, side, Pipeline::HuggingFace)),
            "pixels" => {
                let got = normalised(&preprocess(picture, side, Pipeline::OpenAi));
                checks.exact(&format!("{name}: values"), &got.len(), &expected.data.len());
                let worst = worst(got.into_iter().map(f64::from), &expected.data);
                let levels = levels / 255.0 / f64::from(STD[0].min(STD[1]));
                checks.within_tensor(&name, worst, NORMALISED + levels);
            }
            _ => return Err(format!("{name} is of no known kind")),
        }
    }
    Ok(checks.finish())
}

/// The same towers from every file of a set, what each part of that of the pictures computes, and the
/// similarities of pictures and texts.
pub fn check_towers<B: Kernels>(set: &Set, device: &B::Device) -> Result<Report, String> {
    const FILES: [&str; 3] = ["openai_jit.pt", "openai_state_dict.pt", "model.safetensors"];
    let mut checks = Checks::new(set.expected()?, &set.meta);
    let inputs = set.inputs()?;
    let texts = inputs.get("text_ids")?;
    let texts = texts.data.chunks(texts.last());
    let texts: Vec<Vec<u32>> = texts
        .map(|text| text.iter().map(|id| *id as u32).collect())
        .collect();
    let pixels = inputs.get("pixels")?;
    let shape: [usize; 4] = pixels.shape[..]
        .try_into()
        .map_err(|_| "pixels have four axes")?;
    let files: Vec<PathBuf> = FILES.iter().map(|file| set.dir.join(file)).collect();
    let files: Vec<&PathBuf> = files.iter().filter(|file| file.is_file()).collect();
    if files.is_empty() {
        return Err(format!("there is none of {}", FILES.join(", ")));
    }
    for file in files {
        let tower = ClipVision::<B>::open(file, device).map_err(|error| error.to_string())?;
        let input: Tensor<B, 4> = pixels.floats(shape, device);
        match &tower {
            ClipVision::Transformer(tower) => compare_vit(&mut checks, tower, input.clone()),
            ClipVision::ResNet(tower) => compare_resnet(&mut checks, tower, input.clone()),
        }
        // As it is used: the last layer of a ViT for one position alone.
        let embedding = tower.forward(input);
        checks.tensor("embedding", &HostTensor::read(embedding.clone()));
        let squares = embedding.clone() * embedding.clone();
        let normalized = embedding.clone() / squares.sum_dim(1).sqrt();
        checks.tensor("embedding_normalized", &HostTensor::read(normalized));
        let text = ClipText::<B>::open(file, device).map_err(|error| error.to_string())?;
        let texts = text.forward(&texts);
        checks.tensor("text_embedding", &HostTensor::read(texts.clone()));
        let logits = ClipMatcher::cosines(embedding, texts).mul_scalar(text.logit_scale());
        checks.tensor("logits_per_image", &HostTensor::read(logits));
    }
    Ok(checks.finish())
}

fn compare_vit<B: Kernels>(
    checks: &mut Checks,
    tower: &VisionTransformer<B>,
    pixels: Tensor<B, 4>,
) {
    let found = tower.inspect(pixels);
    checks.tensor("patches", &HostTensor::read(found.patches));
    checks.tensor("ln_pre", &HostTensor::read(found.ln_pre));
    for (layer, block) in found.blocks.into_iter().enumerate() {
        checks.tensor(&format!("block.{layer}"), &HostTensor::read(block));
    }
    checks.tensor("ln_post", &HostTensor::read(found.ln_post));
    checks.tensor("embedding", &HostTensor::read(found.embedding));
}

/// Maps are planes in the set, `[batch, channels, height, width]`.
fn compare_resnet<B: Kernels>(
    checks: &mut Checks,
    tower: &ModifiedResNet<B>,
    pixels: Tensor<B, 4>,
) {
    let planes = |map: Tensor<B, 4>| HostTensor::read(map.permute([0, 3, 1, 2]));
    let found = tower.inspect(pixels);
    checks.tensor("stem", &planes(found.stem));
    for (stage, map) in (1..).zip(found.stages) {
        checks.tensor(&format!("layer.{stage}"), &planes(map));
    }
    checks.tensor("embedding", &HostTensor::read(found.embedding));
}

/// Embeddings of picture files by the tower in `clip`, and the pixels they are of.
pub(super) fn embed<B: OscarBackend>(
    files: &[PathBuf],
    clip: &Path,
    device: &B::Device,
) -> Result<(Tensor<B, 4>, Tensor<B, 2>), String> {
    let tower = ClipVision::<B::Kernels>::open(clip, device).map_err(|error| error.to_string())?;
    let side = tower.image_size();
    let mut values = Vec::new();
    for file in files {
        values.extend(normalised(&preprocess(read(file)?, side, Pipeline::OpenAi)));
    }
    let pixels = TensorData::new(values, [files.len(), 3, side, side]);
    let embeddings = tower.forward(Tensor::from_data(pixels.clone(), device));
    let embeddings = Tensor::from_data(embeddings.into_data(), device);
    Ok((Tensor::from_data(pixels, device), embeddings))
}
