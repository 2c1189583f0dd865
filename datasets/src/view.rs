//! Images shown otherwise than they are: to see what a model takes from them.
//!
//! Wherever images are opened by path, the path may end in a question, as addresses do:
//!
//! ```text
//! dev/regions?swap=1
//! train/regions?noise=0.2&swap_tags=1
//! ```
//!
//! | key | shows |
//! |---|---|
//! | `swap=SEED` | under each key another image of the same store, regions and tags |
//! | `swap_tags=SEED` | under each key the tags of another image, with its own regions |
//! | `tags=none` | no tags |
//! | `project=SEED` | appearance values turned by a random rotation: all that they tell, in no order an eye would know |
//! | `shift=SD` | appearance values moved by a normal offset of this standard deviation, one for each of three channels that take turns and each image: the colours of crops of RGB pixels |
//! | `noise=SD` | appearance values with normal noise of this standard deviation added |
//!
//! What is drawn for an image is the same each time it is read. A projection comes first, then a
//! shift, then noise.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use oscar_core::input::{ExampleSeed, RegionSource, SourceError};
use rand::Rng;
use rand::seq::SliceRandom;

use crate::error::{DatasetError, Result};
use crate::images::{ImageSource, SharedImages};

/// Region values that are geometry, at the end of each region.
const GEOMETRY: usize = 6;

/// Channels of a shift: red, green and blue take turns.
const CHANNELS: usize = 3;

const FIX: &str = "after ? write swap=SEED, swap_tags=SEED, tags=none, project=SEED, shift=SD or \
    noise=SD, joined by &";

/// How images are to be shown.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct View {
    swap: Option<u64>,
    swap_tags: Option<u64>,
    no_tags: bool,
    project: Option<u64>,
    shift: f32,
    noise: f32,
}

impl View {
    /// The path without its question, and the question; `None` if there is none, or if there is a
    /// file or directory of the whole name.
    ///
    /// # Errors
    /// A key or a value that means nothing.
    pub(crate) fn of_path(path: &Path) -> Result<Option<(PathBuf, Self)>> {
        let Some((plain, question)) = path.to_str().and_then(|text| text.rsplit_once('?')) else {
            return Ok(None);
        };
        if path.exists() {
            return Ok(None);
        }
        let mut view = Self::default();
        for part in question.split('&') {
            let wrong = || DatasetError::malformed(path, format!("`{part}` is no view"), FIX);
            let (key, value) = part.split_once('=').ok_or_else(wrong)?;
            match key {
                "swap" => view.swap = Some(value.parse().map_err(|_| wrong())?),
                "swap_tags" => view.swap_tags = Some(value.parse().map_err(|_| wrong())?),
                "tags" if value == "none" => view.no_tags = true,
                "project" => view.project = Some(value.parse().map_err(|_| wrong())?),
                "shift" => view.shift = deviation(value).ok_or_else(wrong)?,
                "noise" => view.noise = deviation(value).ok_or_else(wrong)?,
                _ => return Err(wrong()),
            }
        }
        Ok(Some((PathBuf::from(plain), view)))
    }

    /// `images`, shown so.
    ///
    /// # Errors
    /// A single image that should be another.
    pub(crate) fn of_images(self, images: SharedImages, path: &Path) -> Result<SharedImages> {
        let others = |seed: Option<u64>| seed.map(|seed| others(images.len(), seed)).transpose();
        let alone = |()| {
            let found = "a single image cannot be swapped";
            DatasetError::malformed(path, found, "give two or more")
        };
        Ok(Arc::new(Shown {
            swap: others(self.swap).map_err(alone)?,
            swap_tags: others(self.swap_tags).map_err(alone)?,
            rotation: self.project.map(|seed| {
                let dim = images.region_dim().saturating_sub(GEOMETRY);
                Rotation::draw(dim, &mut ExampleSeed { seed, epoch: 2 }.rng(0))
            }),
            path: path.to_path_buf(),
            view: self,
            images,
        }))
    }
}

/// For each row another one, each once: a cycle through all rows in random order.
fn others(rows: usize, seed: u64) -> std::result::Result<Vec<u32>, ()> {
    if rows < 2 {
        return Err(());
    }
    let mut order: Vec<u32> = (0..rows as u32).collect();
    order.shuffle(&mut ExampleSeed { seed, epoch: 0 }.rng(0));
    let mut others = vec![0; rows];
    for (at, row) in order.iter().enumerate() {
        others[*row as usize] = order[(at + 1) % rows];
    }
    Ok(others)
}

/// A standard deviation: a number that is not negative.
fn deviation(text: &str) -> Option<f32> {
    let value = text.parse().ok()?;
    (0.0..f32::MAX).contains(&value).then_some(value)
}

/// A draw of the standard normal distribution, by Box and Muller's formula.
fn normal(rng: &mut impl Rng) -> f32 {
    // 1 - u keeps zero out of the logarithm.
    let (u, angle): (f32, f32) = (rng.random(), rng.random());
    (-2.0 * (1.0 - u).ln()).sqrt() * (std::f32::consts::TAU * angle).cos()
}

/// A rotation of all values of a region, as a chain of reflections: each takes time in proportion
/// to the values, where a matrix would take their square.
struct Rotation {
    /// Unit vectors `[REFLECTIONS, dim]`; each reflects at the plane it stands on.
    normals: Vec<Vec<f32>>,
}

/// Reflections of a rotation. Each moves every value by all others, so a few mix well.
const REFLECTIONS: usize = 16;

impl Rotation {
    fn draw(dim: usize, rng: &mut impl Rng) -> Self {
        let unit = |_| {
            let vector: Vec<f32> = (0..dim).map(|_| normal(rng)).collect();
            let length = vector.iter().map(|value| value * value).sum::<f32>().sqrt();
            vector.iter().map(|value| value / length).collect()
        };
        Self {
            normals: (0..REFLECTIONS).map(unit).collect(),
        }
    }

    fn apply(&self, values: &mut [f32]) {
        for normal in &self.normals {
            let along: f32 = values.iter().zip(normal).map(|(v, n)| v * n).sum();
            for (value, n) in values.iter_mut().zip(normal) {
                *value -= 2.0 * along * n;
            }
        }
    }
}

struct Shown {
    images: SharedImages,
    swap: Option<Vec<u32>>,
    swap_tags: Option<Vec<u32>>,
    rotation: Option<Rotation>,
    view: View,
    path: PathBuf,
}

impl Shown {
    /// What is drawn for an image: streams of their own for `part` of it.
    fn draws(&self, row: usize, part: u64) -> impl Rng {
        ExampleSeed {
            seed: 0,
            epoch: part,
        }
        .rng(row)
    }
}

/// The appearance values of each of `regions`, which have `dim` values.
fn appearances(regions: &mut [f32], dim: usize) -> impl Iterator<Item = &mut [f32]> {
    let regions = regions.chunks_exact_mut(dim);
    regions.map(move |region| &mut region[..dim - GEOMETRY])
}

fn row_in(others: &Option<Vec<u32>>, row: usize) -> usize {
    match others {
        None => row,
        Some(others) => others[row] as usize,
    }
}

impl RegionSource for Shown {
    fn region_dim(&self) -> usize {
        self.images.region_dim()
    }

    fn num_regions(&self, row: usize) -> std::result::Result<usize, SourceError> {
        self.images.num_regions(row_in(&self.swap, row))
    }

    fn image_key(&self, row: usize) -> String {
        self.images.image_key(row_in(&self.swap, row))
    }

    fn copy_regions(&self, row: usize, out: &mut [f32]) -> std::result::Result<(), SourceError> {
        let row = row_in(&self.swap, row);
        self.images.copy_regions(row, out)?;
        let dim = self.region_dim();
        if dim <= GEOMETRY {
            return Ok(());
        }
        if let Some(rotation) = &self.rotation {
            appearances(out, dim).for_each(|values| rotation.apply(values));
        }
        if self.view.shift > 0.0 {
            let mut rng = self.draws(row, 3);
            let offsets: [f32; CHANNELS] =
                [(); CHANNELS].map(|()| self.view.shift * normal(&mut rng));
            for values in appearances(out, dim) {
                for (value, offset) in values.iter_mut().zip(offsets.iter().cycle()) {
                    *value += offset;
                }
            }
        }
        if self.view.noise > 0.0 {
            let mut rng = self.draws(row, 1);
            for value in appearances(out, dim).flatten() {
                *value += self.view.noise * normal(&mut rng);
            }
        }
        Ok(())
    }
}

impl ImageSource for Shown {
    fn len(&self) -> usize {
        self.images.len()
    }

    fn find(&self, key: &str) -> Option<usize> {
        self.images.find(key)
    }

    fn tag_text(&self, row: usize) -> Result<String> {
        match self.view.no_tags {
            true => Ok(String::new()),
            false => {
                let row = row_in(&self.swap, row);
                self.images.tag_text(row_in(&self.swap_tags, row))
            }
        }
    }

    fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_image_becomes_another_and_each_is_used_once() {
        for rows in [2, 3, 10, 101] {
            let others = others(rows, 7).unwrap();
            let mut seen = others.clone();
            seen.sort_unstable();
            assert_eq!(seen, (0..rows as u32).collect::<Vec<_>>());
            assert!(
                others
                    .iter()
                    .enumerate()
                    .all(|(row, other)| row as u32 != *other)
            );
        }
        assert_ne!(others(50, 1).unwrap(), others(50, 2).unwrap());
        assert!(others(1, 1).is_err());
    }

    #[test]
    fn questions_are_read() {
        let of = |text: &str| View::of_path(Path::new(text)).map_err(|error| error.to_string());
        assert_eq!(of("a/regions"), Ok(None));
        let (plain, view) = of("a/regions?swap=3&noise=0.5&tags=none&project=2&shift=1")
            .unwrap()
            .unwrap();
        assert_eq!(plain, Path::new("a/regions"));
        let wanted = View {
            swap: Some(3),
            swap_tags: None,
            no_tags: true,
            project: Some(2),
            shift: 1.0,
            noise: 0.5,
        };
        assert_eq!(view, wanted);
        for wrong in [
            "swap",
            "swap=x",
            "tags=some",
            "noise=-1",
            "noise=nan",
            "shift=",
            "project=-1",
            "hue=1",
            "",
        ] {
            let found = of(&format!("a?{wrong}")).expect_err(wrong);
            assert!(found.contains(&format!("`{wrong}` is no view")), "{found}");
        }
    }

    #[test]
    fn a_rotation_moves_every_value_and_keeps_lengths_and_angles() {
        let mut rng = ExampleSeed { seed: 4, epoch: 0 }.rng(0);
        let rotation = Rotation::draw(48, &mut rng);
        let mut vectors: Vec<Vec<f32>> = (0..2)
            .map(|_| (0..48).map(|_| normal(&mut rng)).collect())
            .collect();
        let before = vectors.clone();
        vectors.iter_mut().for_each(|v| rotation.apply(v));
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
        for (i, j) in [(0, 0), (0, 1), (1, 1)] {
            let (was, is) = (dot(&before[i], &before[j]), dot(&vectors[i], &vectors[j]));
            assert!((was - is).abs() < 1e-3, "{was} {is}");
        }
        // Hardly more like what it was than a random vector is.
        let alike = dot(&before[0], &vectors[0]) / dot(&before[0], &before[0]);
        assert!(alike.abs() < 0.7, "{alike}");
    }
}
