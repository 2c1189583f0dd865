//! Images changed as they are read, to measure what a model takes from them.
//!
//! Wherever images are opened by path, the path may carry a query, as in a URL:
//!
//! ```text
//! dev/regions?swap=1
//! train/regions?noise=0.2&swap_tags=1
//! ```
//!
//! | key | effect |
//! |---|---|
//! | `keys=exact` | images are found by their keys as they are, never by another spelling: see [`keys`](crate::keys) |
//! | `swap=SEED` | each key gives another image of the same store, its regions and tags |
//! | `swap_tags=SEED` | each image has the tags of another image, and its own regions |
//! | `tags=none` | no tags |
//! | `project=SEED` | a random rotation of the feature vectors: the same information in other coordinates |
//! | `shift=SD` | normal offsets of this standard deviation, one for each image and each of three channels that take turns: a change of colour where features are RGB pixels |
//! | `noise=SD` | normal noise of this standard deviation added to the features |
//!
//! The random numbers of an image are the same each time it is read. A projection comes first, then
//! a shift, then noise.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use oscar_core::input::{ExampleSeed, LabelNames, RegionLabels, RegionSource, SourceError};
use rand::Rng;
use rand::seq::SliceRandom;

use crate::error::{DatasetError, Result};
use crate::findings::Defect;
use crate::images::{ImageSource, SharedImages, unknown_image};

/// Region values that are geometry, at the end of each region.
const GEOMETRY: usize = 6;

/// Channels of a shift: red, green and blue take turns.
const CHANNELS: usize = 3;

pub(crate) const FIX: &str = "after ? write keys=exact, swap=SEED, swap_tags=SEED, tags=none, \
                              project=SEED, shift=SD or noise=SD, joined by &";

/// What is changed in images as they are read; nothing by default.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct View {
    /// Find images by their keys as they are alone.
    pub exact_keys: bool,
    /// Seed by which each image is replaced by another one.
    pub swap: Option<u64>,
    /// Seed by which each image's tags are replaced by those of another one.
    pub swap_tags: Option<u64>,
    /// Leave out all tags.
    pub no_tags: bool,
    /// Seed of a random rotation of the features.
    pub project: Option<u64>,
    /// Standard deviation of the channels' offsets.
    pub shift: f32,
    /// Standard deviation of the features' noise.
    pub noise: f32,
}

/// Reads a query: `swap=1&noise=0.2`. The error says what is wrong with it.
impl FromStr for View {
    type Err = String;

    fn from_str(query: &str) -> Result<Self, String> {
        let mut view = Self::default();
        for option in query.split('&') {
            let read = |view: &mut Self| {
                let (key, value) = option.split_once('=')?;
                match key {
                    "keys" if value == "exact" => view.exact_keys = true,
                    "swap" => view.swap = Some(value.parse().ok()?),
                    "swap_tags" => view.swap_tags = Some(value.parse().ok()?),
                    "tags" if value == "none" => view.no_tags = true,
                    "project" => view.project = Some(value.parse().ok()?),
                    "shift" => view.shift = deviation(value)?,
                    "noise" => view.noise = deviation(value)?,
                    _ => return None,
                }
                Some(())
            };
            read(&mut view).ok_or_else(|| format!("unknown view option `{option}`"))?;
        }
        Ok(view)
    }
}

/// The query with its `?`, or nothing.
impl fmt::Display for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seed = |name: &str, seed: Option<u64>| seed.map(|seed| format!("{name}={seed}"));
        let deviation = |name: &str, sd: f32| (sd > 0.0).then(|| format!("{name}={sd}"));
        let options = [
            self.exact_keys.then(|| "keys=exact".into()),
            seed("swap", self.swap),
            seed("swap_tags", self.swap_tags),
            self.no_tags.then(|| "tags=none".into()),
            seed("project", self.project),
            deviation("shift", self.shift),
            deviation("noise", self.noise),
        ];
        let mut separator = '?';
        for option in options.into_iter().flatten() {
            write!(f, "{separator}{option}")?;
            separator = '&';
        }
        Ok(())
    }
}

impl View {
    /// `images` with these changes; `path` names them in messages.
    ///
    /// # Errors
    /// A single image that would have to be another.
    pub(crate) fn apply(self, images: SharedImages, path: &Path) -> Result<SharedImages> {
        let others = |seed: Option<u64>| {
            let others = seed.map(|seed| others(images.len(), seed).ok_or(()));
            others.transpose().map_err(|()| {
                let found = "a single image cannot be swapped";
                DatasetError::malformed(path, found, "give two or more")
            })
        };
        Ok(Arc::new(Viewed {
            swap: others(self.swap)?,
            swap_tags: others(self.swap_tags)?,
            rotation: self.project.map(|seed| {
                let dim = images.region_dim().saturating_sub(GEOMETRY);
                Rotation::random(dim, &mut ExampleSeed { seed, epoch: 2 }.rng(0))
            }),
            path: path.to_path_buf(),
            view: self,
            images,
        }))
    }
}

/// For each row another one, each once: a cycle through all rows in random order. `None` if there
/// is no other row.
fn others(rows: usize, seed: u64) -> Option<Vec<u32>> {
    if rows < 2 {
        return None;
    }
    let mut order: Vec<u32> = (0..rows as u32).collect();
    order.shuffle(&mut ExampleSeed { seed, epoch: 0 }.rng(0));
    let mut others = vec![0; rows];
    for (at, row) in order.iter().enumerate() {
        others[*row as usize] = order[(at + 1) % rows];
    }
    Some(others)
}

/// A standard deviation: a number that is not negative.
fn deviation(text: &str) -> Option<f32> {
    let value = text.parse().ok()?;
    (0.0..f32::MAX).contains(&value).then_some(value)
}

/// A number of the standard normal distribution, by the formula of Box and Muller.
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
    fn random(dim: usize, rng: &mut impl Rng) -> Self {
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

/// Images with a view applied.
struct Viewed {
    images: SharedImages,
    swap: Option<Vec<u32>>,
    swap_tags: Option<Vec<u32>>,
    rotation: Option<Rotation>,
    view: View,
    path: PathBuf,
}

/// The random numbers of an image: `stream` keeps those of several purposes apart.
fn random(row: usize, stream: u64) -> impl Rng {
    let seed = ExampleSeed {
        seed: 0,
        epoch: stream,
    };
    seed.rng(row)
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

impl RegionSource for Viewed {
    fn region_dim(&self) -> usize {
        self.images.region_dim()
    }

    fn num_regions(&self, row: usize) -> std::result::Result<usize, SourceError> {
        self.images.num_regions(row_in(&self.swap, row))
    }

    fn image_key(&self, row: usize) -> String {
        self.images.image_key(row_in(&self.swap, row))
    }

    fn labels(&self, row: usize) -> std::result::Result<Option<RegionLabels>, SourceError> {
        self.images.labels(row_in(&self.swap, row))
    }

    fn image_size(&self, row: usize) -> Option<(u32, u32)> {
        self.images.image_size(row_in(&self.swap, row))
    }

    fn label_names(&self) -> Option<Arc<LabelNames>> {
        self.images.label_names()
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
            let mut rng = random(row, 3);
            let offsets: [f32; CHANNELS] =
                [(); CHANNELS].map(|()| self.view.shift * normal(&mut rng));
            for values in appearances(out, dim) {
                for (value, offset) in values.iter_mut().zip(offsets.iter().cycle()) {
                    *value += offset;
                }
            }
        }
        if self.view.noise > 0.0 {
            let mut rng = random(row, 1);
            for value in appearances(out, dim).flatten() {
                *value += self.view.noise * normal(&mut rng);
            }
        }
        Ok(())
    }
}

impl ImageSource for Viewed {
    fn len(&self) -> usize {
        self.images.len()
    }

    fn find(&self, key: &str) -> Option<usize> {
        self.images.find(key)
    }

    fn examples(&self, key: &str) -> Vec<String> {
        self.images.examples(key)
    }

    fn require(&self, key: &str) -> Result<usize, Defect> {
        match self.view.exact_keys {
            false => self.images.require(key),
            true => self
                .find(key)
                .ok_or_else(|| unknown_image(&self.path, key, &self.examples(key))),
        }
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

    fn extractor(&self) -> Option<&str> {
        self.images.extractor()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::images::ImagesAt;

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
        assert_eq!(others(1, 1), None);
    }

    #[test]
    fn queries_are_read_and_written() {
        let view: View = "swap=3&noise=0.5&tags=none&project=2&shift=1"
            .parse()
            .unwrap();
        let wanted = View {
            exact_keys: false,
            swap: Some(3),
            swap_tags: None,
            no_tags: true,
            project: Some(2),
            shift: 1.0,
            noise: 0.5,
        };
        assert_eq!(view, wanted);
        assert_eq!(
            view.to_string(),
            "?swap=3&tags=none&project=2&shift=1&noise=0.5"
        );
        assert_eq!(View::default().to_string(), "");
        let exact: View = "keys=exact".parse().unwrap();
        assert_eq!(
            (exact.exact_keys, exact.to_string()),
            (true, "?keys=exact".into())
        );
        for wrong in [
            "swap",
            "swap=x",
            "tags=some",
            "keys=any",
            "noise=-1",
            "noise=nan",
            "shift=",
            "project=-1",
            "hue=1",
            "",
        ] {
            let found = View::from_str(wrong).expect_err(wrong);
            assert!(found.contains(&format!("`{wrong}`")), "{found}");
        }
    }

    #[test]
    fn a_name_with_a_question_mark_is_a_name() {
        let dir = tempfile::tempdir().unwrap();
        let of = |name: &str| ImagesAt::of(&dir.path().join(name)).unwrap();
        let odd = dir.path().join("what?");
        std::fs::create_dir(&odd).unwrap();
        let swapped = of("what??swap=1");
        assert_eq!((&swapped.path, swapped.view.swap), (&odd, Some(1)));
        assert_eq!(swapped.to_path(), dir.path().join("what??swap=1"));
        assert_eq!(
            of("what?"),
            ImagesAt {
                path: odd,
                view: View::default()
            }
        );
        assert_eq!(of("plain").view, View::default());
        assert!(ImagesAt::of(Path::new("a?hue=1")).is_err());
    }

    #[test]
    fn a_rotation_moves_every_value_and_keeps_lengths_and_angles() {
        let mut rng = ExampleSeed { seed: 4, epoch: 0 }.rng(0);
        let rotation = Rotation::random(48, &mut rng);
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
