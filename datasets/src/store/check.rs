//! Reads a whole store and says what is wrong with it.

use std::cmp::Ordering;
use std::ops::Range;

use rayon::prelude::*;

use super::{INDEX_FILE, RegionStore, Tag, box_problem};
use crate::check::{Counts, Finding, Kind, Problem};

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

    /// Keys that cannot be found, or not be told apart.
    pub(crate) fn check_keys(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        for pair in self.sorted.windows(2) {
            let (a, b) = (self.key(pair[0] as usize), self.key(pair[1] as usize));
            let found = match a.cmp(b) {
                Ordering::Less => continue,
                Ordering::Equal => "its key is stored twice".into(),
                Ordering::Greater => format!("sorted after `{a}`, it cannot be found"),
            };
            let finding = Finding::new(Kind::DuplicateKey, found);
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
        let rows = values.chunks_exact(dim).map(|region| &region[..dim - 6]);
        let zero = rows.clone().filter(|v| v.iter().all(|v| *v == 0.0)).count();
        counts.add("regions of zeros only", zero);
        let bad = |values: &[f32]| values.iter().copied().find(|v| !v.is_finite());
        let mut not_finite = rows.enumerate().filter_map(|(i, v)| Some((i, bad(v)?)));
        if let Some((region, value)) = not_finite.next() {
            let found = format!(
                "region {region} has a feature value of {value}{}",
                more(not_finite.count(), "regions")
            );
            report(Finding::new(Kind::NotFinite, found));
        }
        let boxes = self.boxes(row).iter().enumerate();
        let mut wrong = boxes.filter_map(|(region, b)| Some((region, b, relative_problem(b)?)));
        if let Some((region, b, why)) = wrong.next() {
            let more = more(wrong.count(), "regions");
            let found = format!("region {region} has box {b:?}: {why}{more}");
            report(Finding::new(Kind::Box, found));
        }

        match self.tags(row) {
            Err(error) => report(Finding::new(Kind::Json, error.to_string())),
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

/// What is wrong with the tags of an image of this size, once for each kind of problem.
fn tag_findings(tags: &[Tag], (width, height): (u32, u32)) -> Vec<Finding> {
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
        findings.push(Finding::new(Kind::TagBox, found));
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
        findings.push(Finding::new(Kind::Tag, found));
    }
    findings
}

/// How many others have the same kind of problem.
fn more(others: usize, what: &str) -> String {
    match others {
        0 => String::new(),
        n => format!(" (and {n} more {what} like it)"),
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
