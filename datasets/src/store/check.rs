//! Reads a whole store and says what is wrong with it.

use std::cmp::Ordering;
use std::ops::Range;

use rayon::prelude::*;

use super::labels::name_problem;
use super::{INDEX_FILE, RegionStore, Tag, box_problem};
use crate::findings::{Counts, Defect, Kind, Problem};

impl RegionStore {
    /// Reads every feature, box and tag; returns what is wrong, by image.
    ///
    /// An image is reported once for each kind of problem, so the list stays short even if every
    /// value of a store is wrong.
    pub fn check(&self) -> Vec<Problem> {
        let (_, mut problems) = self.check_rows(0..self.len());
        problems.extend(self.check_keys());
        problems
    }

    /// What images `rows` hold, and what is wrong with them.
    pub(crate) fn check_rows(&self, rows: Range<usize>) -> (Counts, Vec<Problem>) {
        let images: Vec<(Counts, Vec<Problem>)> = rows
            .into_par_iter()
            .map(|row| self.check_image(row))
            .collect();
        let (mut counts, mut problems) = (Counts::default(), Vec::new());
        for (its_counts, its_problems) in images {
            counts.extend(&its_counts);
            problems.extend(its_problems);
        }
        (counts, problems)
    }

    /// Keys that cannot be found, or occur twice.
    pub(crate) fn check_keys(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        for pair in self.sorted.windows(2) {
            let (a, b) = (self.key(pair[0] as usize), self.key(pair[1] as usize));
            let found = match a.cmp(b) {
                Ordering::Less => continue,
                Ordering::Equal => "its key is stored twice".into(),
                Ordering::Greater => format!("sorted after `{a}`, it cannot be found"),
            };
            let finding = Defect::of(Kind::DuplicateKey, found);
            problems.push(Problem::of_key(&self.dir.join(INDEX_FILE), b, finding));
        }
        problems
    }

    fn check_image(&self, row: usize) -> (Counts, Vec<Problem>) {
        let (mut counts, mut problems) = (Counts::default(), Vec::new());
        let mut report = |finding| {
            problems.push(Problem::of_key(&self.dir, self.key(row), finding));
        };
        let (regions, dim) = (self.num_regions(row), self.region_dim());
        counts.add("images", 1);
        counts.add("regions", regions);
        counts.add("images without regions", usize::from(regions == 0));

        let mut values = vec![0.0; regions * dim];
        self.copy_regions(row, &mut values);
        let regions = values
            .chunks_exact(dim)
            .map(|region| region.split_at(dim - 6));
        let findings = feature_findings(regions, &mut counts);
        findings.into_iter().for_each(&mut report);

        if let Some(labels) = self.labels(row) {
            counts.add("labelled regions", labels.len());
            let names = self.label_names().map(|names| &**names);
            if let Some(found) = names.and_then(|names| name_problem(&labels, names)) {
                report(Defect::of(Kind::Tag, found));
            }
        }
        match self.tags(row) {
            Err(error) => report(Defect::of(Kind::Json, error.to_string())),
            Ok(tags) => {
                counts.add("tags", tags.len());
                counts.add("images without tags", usize::from(tags.is_empty()));
                let findings = tag_findings(&tags, self.size(row));
                findings.into_iter().for_each(&mut report);
            }
        }
        (counts, problems)
    }
}

/// What is wrong with features and boxes of an image's regions, once for each kind of problem.
pub(crate) fn feature_findings<'a>(
    regions: impl Iterator<Item = (&'a [f32], &'a [f32])>,
    counts: &mut Counts,
) -> Vec<Defect> {
    let mut findings = Vec::new();
    let (mut zeros, mut not_finite, mut boxes) = (0, Vec::new(), Vec::new());
    for (region, (features, geometry)) in regions.enumerate() {
        // Without a branch per value, so that these are loops over vectors.
        zeros += usize::from(features.iter().fold(true, |all, v| all & (*v == 0.0)));
        if !features.iter().fold(true, |all, v| all & v.is_finite()) {
            not_finite.push((region, features));
        }
        // Features may come without boxes.
        if let Ok(geometry) = <&[f32; 6]>::try_from(geometry)
            && let Some(why) = relative_problem(geometry)
        {
            boxes.push((region, geometry, why));
        }
    }
    counts.add("regions of zeros only", zeros);
    if let [(region, features), others @ ..] = &not_finite[..] {
        let mut wrong = features.iter().enumerate().filter(|(_, v)| !v.is_finite());
        let (column, value) = wrong.next().unwrap_or((0, &f32::NAN));
        let more = more(others.len(), "regions");
        let found = format!("region {region}, value {column} is {value}{more}");
        findings.push(Defect::of(Kind::NotFinite, found));
    }
    if let [(region, b, why), others @ ..] = &boxes[..] {
        let more = more(others.len(), "regions");
        let found = format!("region {region} has box {b:?}: {why}{more}");
        findings.push(Defect::of(Kind::Box, found));
    }
    findings
}

/// What is wrong with the tags of an image of this size, once for each kind of problem.
pub(crate) fn tag_findings(tags: &[Tag], (width, height): (u32, u32)) -> Vec<Defect> {
    let mut findings = Vec::new();
    let mut boxes = tags.iter().filter_map(|tag| {
        let problem = box_problem(tag.box_px.as_ref()?, width, height)?;
        Some((tag, problem))
    });
    if let Some((tag, problem)) = boxes.next() {
        let found = format!(
            "tag `{}`: {problem}{}",
            tag.class,
            more(boxes.count(), "tags")
        );
        findings.push(Defect::of(Kind::TagBox, found));
    }
    let mut wrong = tags.iter().enumerate().filter_map(|(at, tag)| {
        if tag.class.trim().is_empty() {
            Some(format!("tag {at} has no class"))
        } else if !(0.0..=1.0).contains(&tag.score) {
            Some(format!("tag `{}` has score {}", tag.class, tag.score))
        } else {
            None
        }
    });
    if let Some(found) = wrong.next() {
        let found = format!("{found}{}", more(wrong.count(), "tags"));
        findings.push(Defect::of(Kind::Tag, found));
    }
    findings
}

/// How many others have the same kind of problem.
pub(crate) fn more(others: usize, what: &str) -> String {
    match others {
        0 => String::new(),
        n => format!(" (and {n} more {what} like it)"),
    }
}

/// What shares of an image may be off by: detectors round.
const ROUNDING: f32 = 1e-3;

/// What is wrong with a box relative to its image's size.
fn relative_problem(b: &[f32; 6]) -> Option<&'static str> {
    let [x1, y1, x2, y2, w, h] = *b;
    if !b.iter().all(|v| (-ROUNDING..=1.0 + ROUNDING).contains(v)) {
        Some("a value is outside 0 to 1")
    } else if x2 <= x1 || y2 <= y1 {
        Some("it is empty or inverted")
    } else if (x2 - x1 - w).abs() > ROUNDING || (y2 - y1 - h).abs() > ROUNDING {
        Some("width and height do not fit its corners")
    } else {
        None
    }
}
