//! What an extractor knows of an image beside its features, in a Python dictionary: the `info` of
//! bottom-up attention's archives, and the `KEY_info.npy` of Pythia and MMF. The `KEY.npy` of ViLBERT
//! is one that has the features, too.
//!
//! The dictionary is pickled inside a NumPy array of one object. It is read without executing
//! anything in it.

use oscar_files::pytorch::pickle::{self, Limits};
use oscar_files::pytorch::{Dict, TorchTensor, Value};

use super::matrix::Matrix;
use super::npy::NpyHeader;
use super::per_image::values;
use crate::findings::Defect;

const FIX: &str = "save the dictionary again with numpy.save or numpy.savez";

/// Features, `[regions, D]` or transposed.
pub(super) const FEATURES: &[&str] = &["x", "features", "feature", "feat", "image_feat"];
/// Boxes in pixels, `[regions, 4]`.
const BOXES: &[&str] = &["bbox", "boxes", "bboxes"];
const COUNT: &[&str] = &["num_boxes", "num_bbox"];
const WIDTH: &[&str] = &["image_w", "image_width", "img_w", "width"];
const HEIGHT: &[&str] = &["image_h", "image_height", "img_h", "height"];
pub(super) const CLASSES: &[&str] = &["objects_id", "objects"];
pub(super) const SCORES: &[&str] = &["objects_conf", "cls_prob", "conf"];
pub(super) const ATTRIBUTES: &[&str] = &["attrs_id", "attributes_id"];
pub(super) const ATTRIBUTE_SCORES: &[&str] = &["attrs_conf", "attributes_conf"];

/// Such a dictionary.
#[derive(Debug)]
pub(super) struct Info(Value);

impl Info {
    /// Reads an array file that holds one.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, Defect> {
        let start = NpyHeader::object_start(bytes)?;
        let pickled = bytes[start..].to_vec();
        let value = pickle::parse(pickled, &Limits::default()).map_err(|error| {
            Defect::new(format!("its dictionary cannot be read ({error})"), FIX)
        })?;
        Self::of(only(&value))
    }

    /// The dictionary of a file that has been read.
    pub(super) fn of(value: &Value) -> Result<Self, Defect> {
        match value.as_dict() {
            Some(_) => Ok(Self(value.clone())),
            None => {
                let found = format!("it holds a {}, not a dictionary", value.type_name());
                Err(Defect::new(found, FIX))
            }
        }
    }

    fn dict(&self) -> &Dict {
        static EMPTY: std::sync::LazyLock<Dict> = std::sync::LazyLock::new(Dict::default);
        self.0.as_dict().unwrap_or(&EMPTY)
    }

    /// The numbers under one of these names.
    pub(super) fn numbers(&self, names: &[&str]) -> Result<Option<Matrix>, Defect> {
        let Some((name, value)) = names.iter().find_map(|n| Some((n, self.dict().get(n)?))) else {
            return Ok(None);
        };
        let wrong = |found: String| {
            Defect::new(found, FIX).within(format_args!("`{name}` of its dictionary"))
        };
        if let Some(array) = value.as_array().or(value.as_tensor()) {
            check_view(array)?;
            let bytes = array.to_bytes().map_err(|error| wrong(error.to_string()))?;
            let values = values(array.dtype(), &bytes).map_err(|defect| wrong(defect.found))?;
            return Matrix::new(array.shape(), values).map(Some);
        }
        if let Some(number) = value.as_f64() {
            return Matrix::new(&[], vec![number as f32]).map(Some);
        }
        if self.texts(&[*name]).is_some() {
            return Ok(None);
        }
        let items = value.as_slice().unwrap_or_default();
        let numbers: Option<Vec<f32>> = items.iter().map(|v| Some(v.as_f64()? as f32)).collect();
        match numbers.filter(|_| value.as_slice().is_some()) {
            Some(numbers) => Matrix::new(&[numbers.len()], numbers).map(Some),
            None => Err(wrong(format!("a {}, not numbers", value.type_name()))),
        }
    }

    /// The texts under one of these names, if it is a list of them.
    pub(super) fn texts(&self, names: &[&str]) -> Option<Vec<String>> {
        let value = names.iter().find_map(|name| self.dict().get(name))?;
        let texts = value.as_slice()?.iter();
        texts.map(|text| text.as_str().map(String::from)).collect()
    }

    /// Features of the regions, of a dictionary that is all that there is of its image.
    pub(super) fn features(&self) -> Result<Matrix, Defect> {
        self.numbers(FEATURES)?.ok_or_else(|| {
            let keys = self.dict().iter().filter_map(|(key, _)| key.as_str());
            let keys: Vec<String> = keys.take(20).map(pickle::printable).collect();
            let found = format!(
                "its dictionary has no {}, but {}",
                FEATURES.join(" or "),
                keys.join(", ")
            );
            Defect::new(found, "is it a dictionary of region features?")
        })
    }

    /// Boxes of the regions.
    pub(super) fn boxes(&self) -> Result<Option<Matrix>, Defect> {
        self.numbers(BOXES)
    }

    /// How many regions there are.
    pub(super) fn count(&self) -> Result<Option<Matrix>, Defect> {
        self.numbers(COUNT)
    }

    /// Width and height of the image.
    pub(super) fn size(&self) -> Result<Option<(Matrix, Matrix)>, Defect> {
        let (width, height) = (self.numbers(WIDTH)?, self.numbers(HEIGHT)?);
        Ok(width.zip(height))
    }
}

/// Refuses a view, which may repeat its storage without end.
pub(super) fn check_view(tensor: &TorchTensor) -> Result<(), Defect> {
    let stored = tensor.storage().len();
    match tensor.len() > stored {
        false => Ok(()),
        true => {
            let shape = tensor.shape();
            let found = format!("a tensor of shape {shape:?} that repeats {stored} bytes");
            Err(Defect::new(found, "save a contiguous copy of it"))
        }
    }
}

/// What an array of one object holds.
fn only(value: &Value) -> &Value {
    let data = value.as_object().and_then(|array| array.fields.get("data"));
    match data.and_then(Value::as_slice) {
        Some([only]) => only,
        _ => value,
    }
}
