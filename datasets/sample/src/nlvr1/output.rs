//! The files of a data set being written, image by image.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde::Serialize;

use super::annotations::Annotation;
use super::build::{Counts, Drawing};
use super::caption;
use crate::lines::Lines;
use oscar_datasets::Result;
use oscar_datasets::store::{Boxes, ImageRegions, RegionStore, StoreOptions, StoreWriter, Tag};
use oscar_vision::RegionExtractor;
use oscar_vision::drawings::{
    BOX_SIZE, BOX_X, DrawingReader, FEATURE_DIM, HEIGHT, Object, WIDTH, box_key,
};

/// Looks of a grey box: class and box of each object, which is all there is to see.
pub(super) type Looks = Vec<(String, Option<[u32; 4]>)>;

fn looks(tags: &[Tag]) -> Looks {
    tags.iter()
        .map(|tag| (tag.class.clone(), tag.box_px.map(|b| b.map(|v| v as u32))))
        .collect()
}

/// Looks of all boxes of the data set in `dir`.
pub(super) fn seen_boxes(dir: &Path) -> Result<HashSet<Looks>> {
    let store = RegionStore::open(&dir.join("regions"))?;
    (0..store.len())
        .into_par_iter()
        .map(|row| Ok(looks(&store.tags(row)?)))
        .collect()
}

/// The files being written.
pub(super) struct Writers {
    seen: HashSet<Looks>,
    boxes: StoreWriter,
    captions: Lines,
    images: Option<StoreWriter>,
    statements: Option<Lines>,
    statements_path: PathBuf,
}

impl Writers {
    pub(super) fn create(
        dir: &Path,
        split: &str,
        whole_images: bool,
        seen: HashSet<Looks>,
    ) -> Result<Self> {
        let options = |what| StoreOptions {
            source: format!("{what} of NLVR v1, split {split}: crops of 12x12x3 pixels"),
            extractor: Some(DrawingReader.identity().name),
            ..StoreOptions::new(FEATURE_DIM)
        };
        let images = whole_images
            .then(|| StoreWriter::create(&dir.join("images"), options("objects in whole images")))
            .transpose()?;
        Ok(Self {
            seen,
            boxes: StoreWriter::create(&dir.join("regions"), options("objects in grey boxes"))?,
            captions: Lines::create(dir.join("boxes.jsonl"))?,
            images,
            statements: None,
            statements_path: dir.join("statements.jsonl"),
        })
    }

    pub(super) fn push_image(
        &mut self,
        key: &str,
        drawing: &Drawing,
        counts: &mut Counts,
    ) -> Result<()> {
        let Drawing { objects, features } = drawing;
        let mut start = 0;
        for in_box in objects.chunk_by(|a, b| a.grey_box == b.grey_box) {
            let end = start + in_box.len();
            let its_features = &features[start * FEATURE_DIM..end * FEATURE_DIM];
            start = end;
            let boxes: Vec<_> = in_box.iter().map(Object::box_px).collect();
            let tags = tags(in_box, &boxes);
            if self.seen.contains(&looks(&tags)) {
                counts.seen_boxes += 1;
                continue;
            }
            let key = box_key(key, in_box[0].grey_box);
            self.boxes.push(ImageRegions {
                key: &key,
                width: BOX_SIZE,
                height: BOX_SIZE,
                features: its_features,
                boxes: Boxes::Pixels(&boxes),
                tags: &tags,
            })?;
            let text = caption::describe(in_box);
            counts.boxes += 1;
            counts.objects += in_box.len();
            counts.caption_words += text.split(' ').count();
            self.captions.push(&Row {
                image: &key,
                text: &text,
                label: None,
            })?;
        }
        let shown = objects.chunk_by(|a, b| a.grey_box == b.grey_box).count();
        counts.empty_boxes += BOX_X.len() - shown;
        if let Some(images) = &mut self.images
            && !objects.is_empty()
        {
            let boxes: Vec<_> = objects.iter().map(Object::image_box_px).collect();
            images.push(ImageRegions {
                key,
                width: WIDTH,
                height: HEIGHT,
                features,
                boxes: Boxes::Pixels(&boxes),
                tags: &tags(objects, &boxes),
            })?;
        }
        Ok(())
    }

    pub(super) fn push_statement(
        &mut self,
        image: &str,
        annotation: &Annotation,
        drawing: &Drawing,
        counts: &mut Counts,
    ) -> Result<()> {
        let Some(text) = annotation
            .sentence
            .as_deref()
            .filter(|_| self.images.is_some())
        else {
            return Ok(());
        };
        if drawing.objects.is_empty() {
            counts.statements_without_regions += 1;
            return Ok(());
        }
        let lines = match &mut self.statements {
            Some(lines) => lines,
            none => none.insert(Lines::create(self.statements_path.clone())?),
        };
        counts.statements += 1;
        lines.push(&Row {
            image,
            text,
            label: annotation.label,
        })
    }

    pub(super) fn finish(self) -> Result<()> {
        self.boxes.finish()?;
        self.captions.finish()?;
        self.images.map(StoreWriter::finish).transpose()?;
        self.statements.map(Lines::finish).transpose()?;
        Ok(())
    }
}

fn tags(objects: &[Object], boxes: &[[f32; 4]]) -> Vec<Tag> {
    let tag = |(object, &box_px): (&Object, &[f32; 4])| Tag {
        class: object.class(),
        score: 1.0,
        box_px: Some(box_px),
        attributes: Vec::new(),
    };
    objects.iter().zip(boxes).map(tag).collect()
}

/// A row of a corpus.
#[derive(Serialize)]
struct Row<'a> {
    image: &'a str,
    text: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<bool>,
}
