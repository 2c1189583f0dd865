//! Extended ground truth: which images and captions belong together beyond the pairs that the
//! captions were written for, and what is computed with it.
//!
//! | file | what it is |
//! |---|---|
//! | a folder with `cxc_image_to_caption.json`, `cxc_caption_to_image.json`, and the same of `eccv` and `original` | the data of the Python package `eccv-caption`: for each query, `{"373119": [560256, ..]}`, its positives (Chun et al. 2022) |
//! | a table `caption,image,agg_score,sampling_method` (`sits_test.csv`) | similarities of CxC (Parekh et al. 2021); with a rating of at least 3 of 5 a pair is positive, which gives the pairs that the package has |
//!
//! Images and captions are named by COCO's numbers.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, Read};
use std::path::Path;

use oscar_core::input::SourceError;
use oscar_datasets::DatasetError;
use oscar_datasets::keys::{coco_number, without_ending};
use oscar_datasets::text::open_text;

use oscar_task::ranks::CUTS;

/// For each query the items that belong to it.
pub type Positives = BTreeMap<u64, BTreeSet<u64>>;

/// Names of annotations, and how the files of a folder begin.
const KNOWN: [(&str, &str); 3] = [("coco", "original"), ("cxc", "cxc"), ("eccv", "eccv")];

/// The least rating of a positive pair of CxC.
const POSITIVE: f64 = 3.0;

/// Positives that were annotated together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Annotation {
    /// `coco`, the pairs that captions were written for; `cxc` or `eccv`.
    pub name: &'static str,
    /// The captions of images.
    pub i2t: Positives,
    /// The images of captions.
    pub t2i: Positives,
}

/// What is computed of the rankings of all queries of an annotation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figures {
    /// Share of queries with a positive among the first 1, 5 and 10.
    pub recall: [f64; CUTS.len()],
    /// Share of positives among the first R, which is the number of positives of a query.
    pub r_precision: f64,
    /// Mean over the places 1 to R of the precision up to a place if a positive is there, else 0
    /// (Musgrave et al. 2020, section 3.3).
    pub map_at_r: f64,
}

/// Why rankings cannot be scored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RankingError {
    /// A query without a ranking.
    #[error(
        "{query} is annotated, but has no ranking; rank every image and caption that is annotated \
         (of COCO's 5K test split)"
    )]
    Missing {
        /// COCO's number.
        query: u64,
    },
    /// A ranking without enough items.
    #[error("the ranking of {query} has {found} items, but {needed} are needed; rank more")]
    Short {
        /// COCO's number.
        query: u64,
        /// Items of the ranking.
        found: usize,
        /// The number of its positives.
        needed: usize,
    },
}

impl Annotation {
    /// Reads all annotations of a folder, or the table of CxC.
    ///
    /// # Errors
    /// If there are none, or a file is not one of these.
    pub fn read(path: &Path) -> Result<Vec<Self>, SourceError> {
        if !path.is_dir() {
            return Ok(vec![table(path)?]);
        }
        let mut found = Vec::new();
        for (name, start) in KNOWN {
            let file = |way: &str| path.join(format!("{start}_{way}.json"));
            let (i2t, t2i) = (file("image_to_caption"), file("caption_to_image"));
            if i2t.exists() || t2i.exists() {
                found.push(Self {
                    name,
                    i2t: queries(&i2t)?,
                    t2i: queries(&t2i)?,
                });
            }
        }
        match found.is_empty() {
            false => Ok(found),
            true => Err(DatasetError::malformed(
                path,
                "no file of positives is in this folder",
                "name the folder data of the Python package eccv-caption, which has \
                 eccv_image_to_caption.json",
            )
            .into()),
        }
    }

    /// The most positives of a query.
    pub fn most(&self) -> usize {
        let all = self.i2t.values().chain(self.t2i.values());
        all.map(BTreeSet::len).max().unwrap_or(0)
    }
}

/// One direction of the package's files.
fn queries(path: &Path) -> Result<Positives, SourceError> {
    const FIX: &str = "it is an object of numbers to lists of numbers, {\"373119\": [560256]}";
    let mut text = String::new();
    let read = open_text(path)?.read_to_string(&mut text);
    read.map_err(DatasetError::io("read", path))?;
    let wrong = |found: String| DatasetError::malformed(path, found, FIX);
    let positives: Positives =
        serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
    match positives.iter().find(|(_, items)| items.is_empty()) {
        None => Ok(positives),
        Some((query, _)) => Err(wrong(format!("{query} has no positives")).into()),
    }
}

/// CxC's similarities of images and captions.
fn table(path: &Path) -> Result<Annotation, SourceError> {
    const FIX: &str = "it is CxC's table of captions and images (sits_test.csv), with the columns \
                       caption, image, agg_score and sampling_method";
    let wrong = |found: String| SourceError::from(DatasetError::malformed(path, found, FIX));
    let mut lines = open_text(path)?.lines();
    let header = lines.next().transpose();
    let header = header.map_err(DatasetError::io("read", path))?;
    let header = header.unwrap_or_default();
    let columns: Vec<&str> = header.trim().split(',').take(3).collect();
    if columns != ["caption", "image", "agg_score"] {
        return Err(wrong(format!("line 1 is {header:?}")));
    }
    let (mut i2t, mut t2i) = (Positives::new(), Positives::new());
    for (line, number) in lines.zip(2..) {
        let line = line.map_err(DatasetError::io("read", path))?;
        let Some((caption, image, rating)) = row(&line) else {
            return Err(wrong(format!("line {number} is {line:?}")));
        };
        if rating >= POSITIVE {
            i2t.entry(image).or_default().insert(caption);
            t2i.entry(caption).or_default().insert(image);
        }
    }
    Ok(Annotation {
        name: "cxc",
        i2t,
        t2i,
    })
}

/// `COCO_val2014:sentid:732091,COCO_val2014_000000365325.jpg,2.2,c2i_intrasim`.
fn row(line: &str) -> Option<(u64, u64, f64)> {
    let mut values = line.split(',');
    let caption = values.next()?.rsplit(':').next()?.parse().ok()?;
    let image = coco_number(without_ending(values.next()?))?;
    let rating: f64 = values.next()?.parse().ok()?;
    rating.is_finite().then_some((caption, image, rating))
}

/// The figures of all queries of `positives`; `ranking` has the items of a query, the best first.
///
/// # Errors
/// If a query has no ranking, or one shorter than its positives.
pub fn figures<'a>(
    positives: &Positives,
    ranking: impl Fn(u64) -> Option<&'a [u64]>,
) -> Result<Figures, RankingError> {
    let mut figures = Figures {
        recall: [0.0; CUTS.len()],
        r_precision: 0.0,
        map_at_r: 0.0,
    };
    let share = 1.0 / positives.len().max(1) as f64;
    for (query, right) in positives {
        let query = *query;
        let ranked = ranking(query).ok_or(RankingError::Missing { query })?;
        let needed = right.len();
        if ranked.len() < needed {
            let found = ranked.len();
            return Err(RankingError::Short {
                query,
                found,
                needed,
            });
        }
        for (recall, cut) in figures.recall.iter_mut().zip(CUTS) {
            if ranked.iter().take(cut).any(|item| right.contains(item)) {
                *recall += share;
            }
        }
        let (mut hits, mut precisions) = (0, 0.0);
        for (place, item) in ranked[..needed].iter().enumerate() {
            if right.contains(item) {
                hits += 1;
                precisions += f64::from(hits) / (place + 1) as f64;
            }
        }
        let needed = needed.max(1) as f64;
        figures.r_precision += share * f64::from(hits) / needed;
        figures.map_at_r += share * precisions / needed;
    }
    Ok(figures)
}

impl Figures {
    /// Them with their names.
    pub fn named(&self) -> Vec<(String, f64)> {
        let recalls = CUTS.iter().zip(self.recall);
        let mut named: Vec<_> = recalls
            .map(|(cut, value)| (format!("R@{cut}"), value))
            .collect();
        named.push(("R-Precision".into(), self.r_precision));
        named.push(("mAP@R".into(), self.map_at_r));
        named
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(positives: &[u64], ranked: &[u64]) -> Figures {
        let positives = Positives::from([(1, positives.iter().copied().collect())]);
        figures(&positives, |_| Some(ranked)).expect("figures")
    }

    #[test]
    fn figures_by_definition() {
        // Hits at places 1 and 3 of R = 4: precisions 1 and 2/3.
        let found = of(&[5, 6, 7, 8], &[5, 1, 7, 2, 6]);
        assert_eq!(found.recall, [1.0; 3]);
        assert_eq!(found.r_precision, 0.5);
        assert!((found.map_at_r - (1.0 + 2.0 / 3.0) / 4.0).abs() < 1e-12);
        // A hit behind R counts for recall alone.
        let late = of(&[9], &[1, 2, 9]);
        assert_eq!((late.recall, late.r_precision), ([0.0, 1.0, 1.0], 0.0));
    }

    #[test]
    fn rankings_that_are_missing_or_short_are_named() {
        let positives = Positives::from([(3, BTreeSet::from([1, 2]))]);
        let missing = figures(&positives, |_| None);
        assert_eq!(missing, Err(RankingError::Missing { query: 3 }));
        let short = RankingError::Short {
            query: 3,
            found: 1,
            needed: 2,
        };
        assert_eq!(figures(&positives, |_| Some(&[1][..])), Err(short));
    }
}
