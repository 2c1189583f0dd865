//! From the captions of a split to batches of pairs.

use std::sync::Arc;

use burn::tensor::backend::Backend;
use burn::tensor::{Bool, Tensor, TensorData};
use oscar_core::input::{EncodedSequence, OscarInput, RegionHandle, RegionSource, SourceError};
use oscar_task::TaskData;
use oscar_train::{BatchSource, ExampleRef};

use super::teacher::{Lesson, Teacher};
use crate::data::SearchData;

/// Pairs of a text and its image; the others of the batch are their negatives.
#[derive(Clone, Debug)]
pub struct SearchBatch<B: Backend> {
    /// The texts.
    pub texts: OscarInput<B>,
    /// The image of each text; one that has several texts in the batch is there several times.
    pub images: OscarInput<B>,
    /// Pairs that are no negatives, since they are of one image, `[pairs, pairs]`.
    pub left_out: Tensor<B, 2, Bool>,
    /// What a teacher reads of the batch.
    pub(super) lesson: Option<Lesson>,
    /// Number of pairs.
    pub num_pairs: usize,
    /// Text tokens and regions, padding aside.
    pub num_tokens: usize,
}

/// A split as the training engine reads it.
pub struct SearchSource {
    data: Arc<SearchData>,
    teacher: Option<Arc<dyn Teacher>>,
}

impl SearchSource {
    /// Batches of `data`, with what `teacher` reads of them.
    pub(super) fn new(data: Arc<SearchData>, teacher: Option<Arc<dyn Teacher>>) -> Self {
        Self { data, teacher }
    }

    /// What the teacher reads of these captions, whose images have the regions `held`.
    fn lesson(
        &self,
        teacher: &dyn Teacher,
        captions: &[usize],
        held: &[RegionHandle],
    ) -> Result<Lesson, SourceError> {
        let split = self.data.split();
        let mut lesson = Lesson::default();
        for (caption, regions) in captions.iter().zip(held) {
            let caption = &split.captions[*caption];
            let tags = split.tag_text(caption.image as usize)?;
            let ids = teacher.ids(&caption.text);
            if ids.is_empty() {
                let text = &caption.text;
                return Err(format!("the teacher has no token for the caption {text:?}").into());
            }
            lesson.texts.push(ids);
            lesson.images.push((teacher.ids(&tags), regions.clone()));
        }
        Ok(lesson)
    }
}

impl<B: Backend> BatchSource<B> for SearchSource {
    type Batch = SearchBatch<B>;

    fn len(&self) -> usize {
        TaskData::len(&*self.data)
    }

    fn name(&self, pick: ExampleRef) -> String {
        let caption = self.data.caption_of(pick.index as usize);
        let split = self.data.split();
        let image = split.captions[caption].image as usize;
        let (path, key) = (split.path.display(), &split.images[image].key);
        format!("{path}: caption {} (image {key})", caption + 1)
    }

    fn batch(
        &self,
        picks: &[ExampleRef],
        device: &B::Device,
    ) -> Result<SearchBatch<B>, SourceError> {
        let data = &*self.data;
        let captions = picks
            .iter()
            .map(|pick| data.caption_of(pick.index as usize));
        let captions: Vec<usize> = captions.collect();
        let image_of = |caption: &usize| data.split().captions[*caption].image as usize;
        let images: Vec<usize> = captions.iter().map(image_of).collect();

        let texts = captions.iter().map(|caption| data.text(*caption));
        let texts: Vec<EncodedSequence> = texts.collect::<Result<_, _>>()?;
        let held = Held::handles(data, &images)?;
        let rows = images.iter().zip(&held);
        let rows = rows.map(|(image, regions)| data.image(*image, regions.clone()));
        let rows: Vec<EncodedSequence> = rows.collect();
        let lesson = self.teacher.as_deref();
        let lesson = lesson.map(|teacher| self.lesson(teacher, &captions, &held));
        Ok(SearchBatch {
            num_pairs: captions.len(),
            num_tokens: texts.iter().chain(&rows).map(EncodedSequence::len).sum(),
            texts: data.encoder().batch(&texts, device)?,
            images: data.encoder().batch(&rows, device)?,
            left_out: same_image(&images, device),
            lesson: lesson.transpose()?,
        })
    }
}

/// Which pairs off the diagonal are of one image.
fn same_image<B: Backend>(images: &[usize], device: &B::Device) -> Tensor<B, 2, Bool> {
    let pairs = images.len();
    let same = |at: usize| {
        let (row, column) = (at / pairs, at % pairs);
        row != column && images[row] == images[column]
    };
    let values: Vec<bool> = (0..pairs * pairs).map(same).collect();
    Tensor::from_data(TensorData::new(values, [pairs, pairs]), device)
}

/// The regions of the images of a batch, in memory: read once, for the student and for the teacher, in
/// whose step nothing may fail any more.
struct Held {
    dim: usize,
    images: Vec<Vec<f32>>,
}

impl Held {
    fn handles(data: &SearchData, images: &[usize]) -> Result<Vec<RegionHandle>, SourceError> {
        let read = |image: &usize| {
            let regions = data.split().regions(*image)?;
            let mut values = vec![0.0; regions.len() * regions.dim()];
            regions.copy_into(&mut values)?;
            Ok(values)
        };
        let held = Arc::new(Self {
            dim: TaskData::region_dim(data),
            images: images
                .iter()
                .map(read)
                .collect::<Result<_, SourceError>>()?,
        });
        let handles = (0..images.len()).map(|row| RegionHandle::new(held.clone(), row));
        handles.collect()
    }
}

impl RegionSource for Held {
    fn region_dim(&self) -> usize {
        self.dim
    }

    fn num_regions(&self, row: usize) -> Result<usize, SourceError> {
        Ok(self.images[row].len() / self.dim.max(1))
    }

    fn copy_regions(&self, row: usize, out: &mut [f32]) -> Result<(), SourceError> {
        out.copy_from_slice(&self.images[row][..out.len()]);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use burn_flex::{Flex, FlexDevice};

    use super::*;

    #[test]
    fn captions_of_one_image_are_no_negatives_of_each_other() {
        let left_out = same_image::<Flex>(&[4, 7, 4], &FlexDevice);
        let values: Vec<bool> = left_out.into_data().iter::<bool>().collect();
        let mut expected = vec![false; 9];
        (expected[2], expected[6]) = (true, true);
        assert_eq!(values, expected);
    }
}
