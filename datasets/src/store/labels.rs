//! What a detector says of regions, beside their features: optional tensors of a shard, and the names of
//! the classes.

use std::io::{self, Write};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use half::f16;
use oscar_core::input::{LabelNames, RegionLabels};
use oscar_files::{FileError, SMALL_FILE, parse_json, read_text};
use safetensors::Dtype;

use crate::error::{DatasetError, Result};
use crate::mapped::{Column, MappedTensors};

/// The file with the names of the classes.
pub(super) const CLASSES_FILE: &str = "classes.json";

/// Number of no class: that of regions without labels, and without attributes.
const NONE: u16 = u16::MAX;

const REBUILD: &str = "copy or build the store again";

/// Labels of the regions of a shard that is being written.
#[derive(Default)]
pub(super) struct LabelColumns {
    objects: Vec<u16>,
    object_scores: Vec<f16>,
    attributes: Vec<u16>,
    attribute_scores: Vec<f16>,
    /// Whether any image has labels.
    any: bool,
}

impl LabelColumns {
    /// Adds those of the next image, which has so many regions.
    pub(super) fn push(&mut self, labels: Option<&RegionLabels>, regions: usize) {
        let end = self.objects.len() + regions;
        if let Some(labels) = labels {
            let scores =
                |scores: &[f32]| scores.iter().map(|s| f16::from_f32(*s)).collect::<Vec<_>>();
            self.any |= regions > 0;
            self.objects.extend(&labels.objects);
            self.object_scores.extend(scores(&labels.object_scores));
            self.attributes.extend(&labels.attributes);
            self.attribute_scores
                .extend(scores(&labels.attribute_scores));
        }
        for numbers in [&mut self.objects, &mut self.attributes] {
            numbers.resize(end, NONE);
        }
        for scores in [&mut self.object_scores, &mut self.attribute_scores] {
            scores.resize(end, f16::ZERO);
        }
    }

    /// Its tensors, in the order in which they are written; none if no image has labels.
    pub(super) fn tensors<'a>(
        &self,
        shape: &'a [usize],
    ) -> Vec<(&'static str, Dtype, &'a [usize])> {
        match self.any {
            false => Vec::new(),
            true => vec![
                ("objects", Dtype::U16, shape),
                ("object_scores", Dtype::F16, shape),
                ("attributes", Dtype::U16, shape),
                ("attribute_scores", Dtype::F16, shape),
            ],
        }
    }

    /// Writes the values of the tensors.
    pub(super) fn write(&self, out: &mut impl Write) -> io::Result<()> {
        if !self.any {
            return Ok(());
        }
        out.write_all(bytemuck::cast_slice(&self.objects))?;
        out.write_all(bytemuck::cast_slice(&self.object_scores))?;
        out.write_all(bytemuck::cast_slice(&self.attributes))?;
        out.write_all(bytemuck::cast_slice(&self.attribute_scores))
    }
}

/// Labels of the regions of an opened shard.
pub(super) struct MappedLabels {
    objects: Column<u16>,
    object_scores: Column<f16>,
    attributes: Column<u16>,
    attribute_scores: Column<f16>,
}

impl MappedLabels {
    /// Those of a shard of so many regions; none if it has none.
    pub(super) fn open(file: &MappedTensors, regions: usize) -> Result<Option<Self>> {
        if !file.has("objects") {
            return Ok(None);
        }
        Ok(Some(Self {
            objects: file.column("objects", Dtype::U16, &[regions])?,
            object_scores: file.column("object_scores", Dtype::F16, &[regions])?,
            attributes: file.column("attributes", Dtype::U16, &[regions])?,
            attribute_scores: file.column("attribute_scores", Dtype::F16, &[regions])?,
        }))
    }

    /// Those of some regions of the shard, which are an image's; none if the image has none.
    pub(super) fn of(&self, regions: Range<usize>) -> Option<RegionLabels> {
        let objects = self.objects[regions.clone()].to_vec();
        if objects.first() == Some(&NONE) {
            return None;
        }
        let floats = |scores: &[f16]| scores.iter().map(|score| score.to_f32()).collect();
        let attributes = &self.attributes[regions.clone()];
        let has_attributes = attributes.first().is_some_and(|first| *first != NONE);
        let of_attributes = if has_attributes {
            regions.clone()
        } else {
            0..0
        };
        Some(RegionLabels {
            object_scores: floats(&self.object_scores[regions]),
            attributes: self.attributes[of_attributes.clone()].to_vec(),
            attribute_scores: floats(&self.attribute_scores[of_attributes]),
            objects,
        })
    }
}

/// What keeps labels from being stored beside so many regions, if anything.
pub(super) fn problem(labels: &RegionLabels, regions: usize) -> Option<String> {
    let all = [labels.objects.len(), labels.object_scores.len()];
    let attributes = [labels.attributes.len(), labels.attribute_scores.len()];
    let others = |lengths: [usize; 2]| lengths.into_iter().find(|length| *length != regions);
    let other = others(all).or_else(|| others(attributes).filter(|_| attributes != [0, 0]));
    if let Some(other) = other {
        return Some(format!(
            "{other} classes, attributes or scores for {regions} regions"
        ));
    }
    if labels
        .objects
        .iter()
        .chain(&labels.attributes)
        .any(|number| *number == NONE)
    {
        return Some(format!("the class {NONE}, which stands for none"));
    }
    let scores = labels.object_scores.iter().chain(&labels.attribute_scores);
    let wrong = scores.copied().find(|score| !(0.0..=1.0).contains(score));
    wrong.map(|score| format!("the score {score} of a class, which is not from 0 to 1"))
}

/// What is wrong with the labels of an image whose classes have these names.
pub(super) fn name_problem(labels: &RegionLabels, names: &LabelNames) -> Option<String> {
    let missing = |what: &str, numbers: &[u16], names: &[String]| {
        let number = numbers
            .iter()
            .find(|number| usize::from(**number) >= names.len())?;
        let count = names.len();
        Some(format!(
            "{what} {number}, but {CLASSES_FILE} has {count} names"
        ))
    };
    let object = missing("object class", &labels.objects, &names.objects);
    object.or_else(|| missing("attribute", &labels.attributes, &names.attributes))
}

/// The names of the classes of the store in `dir`; none if it has none.
///
/// # Errors
/// If the file cannot be read, or is another.
pub(super) fn read_names(dir: &Path) -> Result<Option<Arc<LabelNames>>> {
    let path = dir.join(CLASSES_FILE);
    let text = match read_text(&path, SMALL_FILE) {
        Ok(text) => text,
        Err(FileError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            return Ok(None);
        }
        Err(error) => return Err(error.into()),
    };
    let names: LabelNames = parse_json(&text)
        .map_err(|error| DatasetError::malformed(&path, error.to_string(), REBUILD))?;
    Ok(Some(Arc::new(names)))
}

#[cfg(test)]
mod tests {
    use super::super::{Boxes, ImageRegions, RegionStore, StoreOptions, StoreWriter};
    use super::*;

    fn labels(objects: &[u16], attributes: &[u16]) -> RegionLabels {
        RegionLabels {
            objects: objects.to_vec(),
            object_scores: vec![0.5; objects.len()],
            attributes: attributes.to_vec(),
            attribute_scores: vec![0.25; attributes.len()],
        }
    }

    const PLACE: [f32; 6] = [0.0, 0.0, 0.5, 0.5, 0.5, 0.5];

    /// Writes images of one region, whose labels these are, in shards of `shard_bytes`.
    fn store(
        dim: usize,
        shard_bytes: u64,
        images: &[(&str, Option<RegionLabels>)],
    ) -> Result<(tempfile::TempDir, Arc<RegionStore>)> {
        let place = tempfile::tempdir().unwrap();
        let dir = place.path().join("regions");
        let names = LabelNames {
            objects: vec!["dog".into(), "tree".into()],
            attributes: vec!["brown".into()],
        };
        let options = StoreOptions {
            max_shard_bytes: shard_bytes,
            label_names: Some(Arc::new(names)),
            ..StoreOptions::new(dim)
        };
        let mut writer = StoreWriter::create(&dir, options)?;
        let features = vec![0.5; dim];
        for (key, labels) in images {
            let image = ImageRegions {
                key,
                width: 10,
                height: 10,
                features: &features,
                boxes: Boxes::Relative(&[PLACE]),
                tags: &[],
            };
            match labels {
                Some(labels) => writer.push_labelled(image, labels.clone())?,
                None => writer.push(image)?,
            }
        }
        writer.finish()?;
        let store = RegionStore::open(&dir)?;
        Ok((place, store))
    }

    #[test]
    fn labels_come_back_whatever_the_layout_of_the_shard() {
        let both = labels(&[1], &[0]);
        let objects = labels(&[0], &[]);
        let images = [
            ("a", Some(both.clone())),
            ("b", None),
            ("c", Some(objects.clone())),
        ];
        // Features first or last; one shard, or one for each image.
        for (dim, bytes) in [(4, 1 << 20), (3, 1 << 20), (4, 1), (3, 1)] {
            let (_place, store) = store(dim, bytes, &images).unwrap();
            assert_eq!(store.labels(0), Some(both.clone()), "{dim} {bytes}");
            assert_eq!(store.labels(1), None);
            assert_eq!(store.labels(2), Some(objects.clone()));
            assert_eq!(store.label_names().unwrap().objects, ["dog", "tree"]);
            assert_eq!(store.boxes(2), [PLACE]);
            let mut values = vec![0.0; dim + 6];
            store.copy_regions(2, &mut values);
            assert_eq!(values[..dim], vec![0.5; dim]);
            assert_eq!(store.check(), []);
        }
    }

    #[test]
    fn labels_that_do_not_fit() {
        for wrong in [
            labels(&[1, 0], &[]),
            labels(&[1], &[0, 0]),
            labels(&[NONE], &[]),
            RegionLabels {
                object_scores: vec![f32::NAN],
                ..labels(&[1], &[])
            },
        ] {
            let error = store(4, 1 << 20, &[("a", Some(wrong.clone()))]).err();
            let refused = matches!(error, Some(DatasetError::Image { ref key, .. }) if key == "a");
            assert!(refused, "{wrong:?}: {error:?}");
        }
        // A class without a name is found by a check.
        let (_place, store) = store(4, 1 << 20, &[("a", Some(labels(&[2], &[])))]).unwrap();
        assert_eq!(store.check().len(), 1);
    }
}
