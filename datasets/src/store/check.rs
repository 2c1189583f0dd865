//! Reads a whole store and says what is wrong with it.

use std::fmt;

use rayon::prelude::*;

use super::{RegionStore, box_problem};

/// Something wrong with an image of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The image's key.
    pub key: String,
    /// What was found.
    pub found: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "image `{}`: {}", self.key, self.found)
    }
}

impl RegionStore {
    /// Reads every feature, box and tag; returns what is wrong, by image.
    ///
    /// An image is reported once for each kind of problem, so the list stays short even if every
    /// value of a store is wrong.
    pub fn check(&self) -> Vec<Problem> {
        let mut problems: Vec<Problem> = (0..self.len())
            .into_par_iter()
            .flat_map_iter(|row| self.check_image(row))
            .collect();
        for pair in self.sorted.windows(2) {
            let (a, b) = (self.key(pair[0] as usize), self.key(pair[1] as usize));
            let found = match a.cmp(b) {
                std::cmp::Ordering::Less => continue,
                std::cmp::Ordering::Equal => "its key is stored twice".into(),
                std::cmp::Ordering::Greater => format!("sorted after `{a}`, it cannot be found"),
            };
            problems.push(Problem {
                key: b.into(),
                found,
            });
        }
        problems
    }

    fn check_image(&self, row: usize) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut report = |found| {
            problems.push(Problem {
                key: self.key(row).into(),
                found,
            })
        };
        let (width, height) = self.size(row);
        let (regions, dim) = (self.num_regions(row), self.region_dim());
        let mut values = vec![0.0; regions * dim];
        self.copy_regions(row, &mut values);
        let bad = values
            .chunks_exact(dim)
            .enumerate()
            .find_map(|(region, v)| {
                v[..dim - 6]
                    .iter()
                    .find(|v| !v.is_finite())
                    .map(|v| (region, v))
            });
        if let Some((region, value)) = bad {
            report(format!("region {region} has a feature value of {value}"));
        }
        let wrong = self.boxes(row).iter().enumerate().find_map(|(region, b)| {
            Some(format!(
                "region {region} has box {b:?}: {}",
                relative_problem(b)?
            ))
        });
        wrong.into_iter().for_each(&mut report);

        match self.tags(row) {
            Err(error) => report(format!("{error}")),
            Ok(tags) => {
                let wrong = tags.iter().find_map(|tag| {
                    let problem = box_problem(tag.box_px.as_ref()?, width, height)?;
                    Some(format!("tag `{}`: {problem}", tag.class))
                });
                wrong.into_iter().for_each(&mut report);
            }
        }
        problems
    }
}

/// What is wrong with a box relative to its image's size.
fn relative_problem(b: &[f32; 6]) -> Option<&'static str> {
    let [x1, y1, x2, y2, w, h] = *b;
    if !b.iter().all(|v| (0.0..=1.0).contains(v)) {
        Some("a value is outside 0 to 1")
    } else if x2 <= x1 || y2 <= y1 {
        Some("it is empty or inverted")
    } else if (x2 - x1 - w).abs() > 1e-3 || (y2 - y1 - h).abs() > 1e-3 {
        Some("width and height do not fit its corners")
    } else {
        None
    }
}
