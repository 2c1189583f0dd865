//! Names things by the most similar of those it knows.

use super::features::{FEATURE_DIM, NORM};

/// A thing with its name.
#[derive(Clone, Debug)]
pub struct Known {
    /// What it is called.
    pub name: String,
    /// Whose drawing it is: a detector can leave a vendor's drawings out.
    pub vendor: String,
    /// Its feature.
    pub feature: [f32; FEATURE_DIM],
}

/// A nearest-neighbour classifier: a thing has the name of the known one whose feature has the
/// smallest angle to its own. It is wrong where another thing looks more alike, as detectors are.
#[derive(Clone, Debug)]
pub struct Detector {
    /// Each name once, in order of first appearance.
    names: Vec<String>,
    vendors: Vec<String>,
    /// Name and vendor of each known thing.
    known: Vec<(u32, u32)>,
    /// `[known, FEATURE_DIM]`.
    features: Vec<f32>,
}

impl Detector {
    /// A detector that knows these things; of equally similar ones the first counts.
    pub fn new(things: impl IntoIterator<Item = Known>) -> Self {
        fn number(of: String, all: &mut Vec<String>) -> u32 {
            let known = all.iter().position(|one| *one == of);
            let at = known.unwrap_or_else(|| {
                all.push(of);
                all.len() - 1
            });
            at as u32
        }
        let mut detector = Self {
            names: Vec::new(),
            vendors: Vec::new(),
            known: Vec::new(),
            features: Vec::new(),
        };
        for thing in things {
            let name = number(thing.name, &mut detector.names);
            let vendor = number(thing.vendor, &mut detector.vendors);
            detector.known.push((name, vendor));
            detector.features.extend(thing.feature);
        }
        detector
    }

    /// The name of a thing and the cosine of its feature with the most similar known one's, at
    /// least 0; `None` if no thing is known.
    ///
    /// Drawings of the vendor `except` are not compared with: a detector that has learned the very
    /// drawings that a scene is made of makes no errors.
    pub fn name(&self, feature: &[f32], except: Option<&str>) -> Option<(&str, f32)> {
        let except = except.and_then(|name| self.vendors.iter().position(|one| one == name));
        let mut best: Option<(usize, f32)> = None;
        for (at, other) in self.features.chunks_exact(FEATURE_DIM).enumerate() {
            if except.is_some_and(|vendor| vendor == self.known[at].1 as usize) {
                continue;
            }
            let product = dot(feature, other);
            if best.is_none_or(|(_, highest)| product > highest) {
                best = Some((at, product));
            }
        }
        let (at, product) = best?;
        let cosine = (product / (NORM * NORM)).clamp(0.0, 1.0);
        Some((&self.names[self.known[at].0 as usize], cosine))
    }

    /// All names that it gives.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// A number that changes with anything known.
    pub(super) fn digest(&self) -> u32 {
        let mut hasher = crc32fast::Hasher::new();
        for name in self.names.iter().chain(&self.vendors) {
            hasher.update(name.as_bytes());
            hasher.update(&[0]);
        }
        for (name, vendor) in &self.known {
            hasher.update(&name.to_le_bytes());
            hasher.update(&vendor.to_le_bytes());
        }
        for value in &self.features {
            hasher.update(&value.to_le_bytes());
        }
        hasher.finalize()
    }
}

/// In eight sums, in the same order on every machine.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0_f32; 8];
    for (a, b) in a.chunks_exact(8).zip(b.chunks_exact(8)) {
        for (at, sum) in sums.iter_mut().enumerate() {
            *sum += a[at] * b[at];
        }
    }
    sums.iter().sum()
}
