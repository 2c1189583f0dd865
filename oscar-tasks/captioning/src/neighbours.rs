//! Captions of the most similar image: a baseline without a model.
//!
//! Images are compared by the mean of their regions' features.

use oscar_core::input::SourceError;
use oscar_task::TaskData;
use rayon::prelude::*;

use crate::data::CaptionData;

/// For each image of `data` the image of `others` that is most like it.
///
/// # Errors
///
/// If an image cannot be read, or regions differ in size.
pub(crate) fn nearest(data: &CaptionData, others: &CaptionData) -> Result<Vec<usize>, SourceError> {
    if data.region_dim() != others.region_dim() {
        let (own, other) = (data.region_dim(), others.region_dim());
        return Err(format!("its neighbours' regions have {other} values, its own {own}").into());
    }
    let known = means(others)?;
    let own = means(data)?;
    let nearest = |own: &Vec<f32>| {
        let distances = known.iter().map(|other| distance(own, other)).enumerate();
        let best = distances.min_by(|(_, a), (_, b)| a.total_cmp(b));
        best.map_or(0, |(image, _)| image)
    };
    Ok(own.par_iter().map(nearest).collect())
}

fn means(data: &CaptionData) -> Result<Vec<Vec<f32>>, SourceError> {
    let mean = |image: usize| {
        let regions = data.regions(image)?;
        let dim = regions.dim();
        let mut values = vec![0.0; regions.len() * dim];
        regions.copy_into(&mut values)?;
        let mut mean = vec![0.0; dim];
        for region in values.chunks_exact(dim) {
            for (sum, value) in mean.iter_mut().zip(region) {
                *sum += value / regions.len() as f32;
            }
        }
        Ok(mean)
    };
    (0..data.images().len()).into_par_iter().map(mean).collect()
}

fn distance(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum()
}
