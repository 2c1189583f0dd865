//! Which captions compete for an image.

use std::collections::HashMap;
use std::path::Path;

use oscar_core::input::{ExampleSeed, SourceError};
use oscar_datasets::DatasetError;
use rand::Rng;

use crate::official;

/// As many candidates for each image, in rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Candidates {
    /// Every used caption, in order.
    All(Vec<u32>),
    /// `width` captions of each image, one image after the other.
    Lists { width: usize, captions: Vec<u32> },
}

impl Candidates {
    /// Candidates per image.
    pub fn width(&self) -> usize {
        match self {
            Self::All(captions) => captions.len(),
            Self::Lists { width, .. } => *width,
        }
    }

    /// The candidates of an image.
    pub fn of(&self, image: usize) -> &[u32] {
        match self {
            Self::All(captions) => captions,
            Self::Lists { width, captions } => {
                captions.chunks_exact(*width).nth(image).unwrap_or(&[])
            }
        }
    }

    /// Reads a file of candidates for the images `keys`, whose captions are those in `captions`, by
    /// image.
    ///
    /// # Errors
    ///
    /// A file that cannot be read; an image without candidates, or with another number of them; a
    /// candidate that is no caption of these images.
    pub fn read(
        path: &Path,
        keys: &[&str],
        captions: &[std::ops::Range<u32>],
    ) -> Result<Self, SourceError> {
        let lists = official::candidates(path)?;
        let places: HashMap<&str, usize> = keys.iter().copied().zip(0..).collect();
        let wrong =
            |found: String, fix| SourceError::from(DatasetError::malformed(path, found, fix));
        let mut all = Vec::new();
        let mut width = None;
        for key in keys {
            let list = lists
                .get(*key)
                .filter(|list| !list.is_empty())
                .ok_or_else(|| {
                    let found = format!("no candidates for image {key}");
                    wrong(found, "give every image of the split as many candidates")
                })?;
            let width = *width.get_or_insert(list.len());
            if list.len() != width {
                let found = format!("image {key} has {} candidates, not {width}", list.len());
                return Err(wrong(found, "give every image as many"));
            }
            for (number, (other, at)) in list.iter().enumerate() {
                let candidate = format!("candidate {} of image {key}", number + 1);
                let of = places.get(other.as_str()).ok_or_else(|| {
                    let found = format!("{candidate}: image {other} is not in the split");
                    wrong(found, "does the file belong to these captions and keys?")
                })?;
                let of = &captions[*of];
                let caption = u32::try_from(*at)
                    .ok()
                    .and_then(|at| of.start.checked_add(at));
                match caption.filter(|caption| of.contains(caption)) {
                    Some(caption) => all.push(caption),
                    None => {
                        let found = format!(
                            "{candidate}: caption {at} of image {other}, which has {}",
                            of.len()
                        );
                        return Err(wrong(found, "captions are counted from 0"));
                    }
                }
            }
        }
        Ok(Self::Lists {
            width: width.unwrap_or(0),
            captions: all,
        })
    }

    /// For each image one of its used captions, `used`, then up to `width - 1` of other images drawn
    /// at random, the same at each call.
    pub fn draw(used: &[std::ops::Range<u32>], width: usize) -> Self {
        let total: usize = used.iter().map(|own| own.len()).sum();
        let most = used.iter().map(|own| own.len()).max().unwrap_or(0);
        // As many for each, however few there are.
        let width = width.min(total - most + 1);
        let starts: Vec<usize> = used
            .iter()
            .scan(0, |sum, own| {
                *sum += own.len();
                Some(*sum - own.len())
            })
            .collect();
        let mut captions = Vec::with_capacity(width * used.len());
        for (image, own) in used.iter().enumerate() {
            let mut rng = ExampleSeed { seed: 0, epoch: 0 }.rng(image);
            captions.push(own.start + rng.random_range(0..own.len() as u32));
            let others = total - own.len();
            for other in distinct(&mut rng, others, width - 1) {
                // Places before the own captions, then those after them.
                let place = match other < starts[image] {
                    true => other,
                    false => other + own.len(),
                };
                let of = starts.partition_point(|start| *start <= place) - 1;
                captions.push(used[of].start + (place - starts[of]) as u32);
            }
        }
        Self::Lists { width, captions }
    }
}

/// `count` different numbers below `below`, in the order of a partial shuffle.
pub(crate) fn distinct(rng: &mut impl Rng, below: usize, count: usize) -> Vec<usize> {
    let mut moved: HashMap<usize, usize> = HashMap::new();
    (0..count.min(below))
        .map(|at| {
            let pick = rng.random_range(at..below);
            let drawn = moved.get(&pick).copied().unwrap_or(pick);
            let here = moved.get(&at).copied().unwrap_or(at);
            moved.insert(pick, here);
            drawn
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn one_own_caption_and_different_others() {
        let used = [0..5, 6..8, 8..9, 9..14];
        let drawn = Candidates::draw(&used, 6);
        assert_eq!(drawn.width(), 6);
        let mut seen = HashSet::new();
        for (image, own) in used.iter().enumerate() {
            let list = drawn.of(image);
            assert!(own.contains(&list[0]), "{image}: {list:?}");
            let others: HashSet<u32> = list[1..].iter().copied().collect();
            assert_eq!(others.len(), 5, "{image}: {list:?}");
            for other in &others {
                assert!(!own.contains(other), "{image}: {list:?}");
                assert!(used.iter().any(|range| range.contains(other)), "{list:?}");
            }
            seen.extend(others);
        }
        assert!(seen.len() > 8, "{seen:?}");
        assert_eq!(drawn, Candidates::draw(&used, 6));
    }

    #[test]
    fn few_captions_make_few_candidates() {
        let drawn = Candidates::draw(&[0..1, 1..2, 2..3], 20);
        assert_eq!(drawn.width(), 3);
        let mut all = drawn.of(1).to_vec();
        all.sort();
        assert_eq!(all, [0, 1, 2]);
    }
}
