//! Expressions of a split.

use oscar_core::input::{BOX_VALUES, EncodedSequence, RegionHandle, SequenceEncoder, SourceError};
use oscar_datasets::referring::{Expression, ExpressionFiles};
use oscar_datasets::{RowSet, SharedImages, open_images};
use oscar_task::{Role, TaskData, required};

use crate::Split;
use crate::boxes::{Candidates, Share};

/// A split, opened: every image was found, every box is in its image.
pub struct ReferData {
    rows: RowSet<Expression>,
    source: SharedImages,
    encoder: SequenceEncoder,
}

/// An expression beside its image.
#[derive(Clone, Debug)]
pub struct EncodedExpression {
    /// Text and regions.
    pub sequence: EncodedSequence,
    /// Where the regions are.
    pub candidates: Candidates,
    /// The right box, if it is known.
    pub truth: Option<Share>,
}

impl EncodedExpression {
    /// Encodes an expression; `size` is that of the image in pixels.
    ///
    /// # Errors
    ///
    /// A text without a word, or regions that cannot be read.
    pub fn new(
        encoder: &SequenceEncoder,
        (origin, text, tags): (String, &str, &str),
        regions: RegionHandle,
        size: Option<(u32, u32)>,
    ) -> Result<Self, SourceError> {
        let sequence = encoder.encode(origin, text, tags, &[regions])?;
        let mut boxes = Vec::with_capacity(sequence.num_regions());
        for (handle, count) in &sequence.regions {
            let dim = handle.dim();
            let mut values = vec![0.0; count * dim];
            handle.copy_into(&mut values)?;
            let corner = |region: &[f32]| {
                let sides = &region[dim - BOX_VALUES..];
                std::array::from_fn(|side| f64::from(sides[side]))
            };
            boxes.extend(values.chunks_exact(dim.max(1)).map(corner));
        }
        let pixel = size.map_or([0.0; 2], |(width, height)| {
            [1.0 / f64::from(width), 1.0 / f64::from(height)]
        });
        Ok(Self {
            sequence,
            candidates: Candidates { boxes, pixel },
            truth: None,
        })
    }
}

impl ReferData {
    /// Opens `split` and checks every row.
    ///
    /// # Errors
    ///
    /// A file that cannot be read; a row without words, without box where one is needed, whose image
    /// has no regions stored, or whose box is of another image.
    pub fn open(split: &Split, role: Role, encoder: SequenceEncoder) -> Result<Self, SourceError> {
        let source = open_images(required(&split.regions, "regions", "the region store")?)?;
        let files = ExpressionFiles {
            path: required(&split.expressions, "expressions", "the file of expressions")?,
            instances: split.instances(),
            split: split.split(),
        };
        let rows = files.open(Some(source.clone()))?;
        if role != Role::Evaluate {
            rows.require_labels()?;
        }
        Ok(Self {
            rows,
            source,
            encoder,
        })
    }

    /// The rows.
    pub fn rows(&self) -> &RowSet<Expression> {
        &self.rows
    }

    /// The encoder.
    pub fn encoder(&self) -> &SequenceEncoder {
        &self.encoder
    }

    fn image(&self, index: usize) -> usize {
        self.rows.images(index)[0] as usize
    }

    /// Width and height of the image of row `index` in pixels, if they are known.
    pub fn image_size(&self, index: usize) -> Option<(u32, u32)> {
        self.rows[index].image_size(&*self.source, self.image(index))
    }

    /// Example `index`.
    ///
    /// # Errors
    ///
    /// If it cannot be read or encoded; the error names file and row.
    pub fn example(&self, index: usize) -> Result<EncodedExpression, SourceError> {
        let (row, image) = (&self.rows[index], self.image(index));
        let tags = match &row.tags {
            Some(tags) => tags.clone(),
            None => self.source.tag_text(image)?,
        };
        let size = self.image_size(index);
        let regions = RegionHandle::new(self.source.clone(), image)?;
        let texts = (self.rows.origin(index), &*row.expression, tags.as_str());
        let mut example = EncodedExpression::new(&self.encoder, texts, regions, size)?;
        example.truth = row.box_px.zip(size).map(|(b, (width, height))| {
            let sides = [width, height, width, height];
            std::array::from_fn(|at| f64::from(b[at]) / f64::from(sides[at]))
        });
        Ok(example)
    }
}

impl TaskData for ReferData {
    fn len(&self) -> usize {
        self.rows.len()
    }

    fn region_dim(&self) -> usize {
        self.source.region_dim()
    }

    fn extractor(&self) -> Option<String> {
        self.source.extractor().map(String::from)
    }
}
