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
//! | `noise=SD` | appearance values with normal noise of this standard deviation added, the same each time an image is read |

use std::path::{Path, PathBuf};
use std::sync::Arc;

use oscar_core::input::{ExampleSeed, RegionSource, SourceError};
use rand::Rng;
use rand::seq::SliceRandom;

use crate::error::{DatasetError, Result};
use crate::images::{ImageSource, SharedImages};

/// Region values that are geometry, at the end of each region.
const GEOMETRY: usize = 6;

const FIX: &str = "after ? write swap=SEED, swap_tags=SEED, tags=none or noise=SD, joined by &";

/// How images are to be shown.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct View {
    swap: Option<u64>,
    swap_tags: Option<u64>,
    no_tags: bool,
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
                "noise" => match value.parse() {
                    Ok(sd) if (0.0..f32::MAX).contains(&sd) => view.noise = sd,
                    _ => return Err(wrong()),
                },
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

struct Shown {
    images: SharedImages,
    swap: Option<Vec<u32>>,
    swap_tags: Option<Vec<u32>>,
    view: View,
    path: PathBuf,
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

    fn copy_regions(&self, row: usize, out: &mut [f32]) -> std::result::Result<(), SourceError> {
        let row = row_in(&self.swap, row);
        self.images.copy_regions(row, out)?;
        if self.view.noise > 0.0 {
            let dim = self.region_dim();
            let mut rng = ExampleSeed { seed: 0, epoch: 1 }.rng(row);
            for region in out.chunks_exact_mut(dim) {
                for value in &mut region[..dim - GEOMETRY] {
                    // Box and Muller's formula; 1 - u keeps zero out of the logarithm.
                    let (u, angle): (f32, f32) = (rng.random(), rng.random());
                    let length = (-2.0 * (1.0 - u).ln()).sqrt();
                    *value += self.view.noise * length * (std::f32::consts::TAU * angle).cos();
                }
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
        let (plain, view) = of("a/regions?swap=3&noise=0.5&tags=none").unwrap().unwrap();
        assert_eq!(plain, Path::new("a/regions"));
        let wanted = View {
            swap: Some(3),
            swap_tags: None,
            no_tags: true,
            noise: 0.5,
        };
        assert_eq!(view, wanted);
        for wrong in [
            "swap",
            "swap=x",
            "tags=some",
            "noise=-1",
            "noise=nan",
            "hue=1",
            "",
        ] {
            let found = of(&format!("a?{wrong}")).expect_err(wrong);
            assert!(found.contains(&format!("`{wrong}` is no view")), "{found}");
        }
    }
}
