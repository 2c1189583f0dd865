//! Several corpora, one after the other, as one.

use std::sync::Arc;

use oscar_core::input::{Example, ExampleSource, SourceError};

/// Corpora whose rows follow one another: those of the first, then those of the second, …
///
/// Pollution takes its texts from all of them.
pub struct JoinedCorpus {
    parts: Vec<Arc<dyn ExampleSource>>,
    /// Number of rows before the end of each part.
    ends: Vec<usize>,
    answer_rows: Vec<u32>,
}

impl JoinedCorpus {
    /// Joins `parts`; `None` if they have more than 4,294,967,295 rows together.
    pub fn new(parts: Vec<Arc<dyn ExampleSource>>) -> Option<Self> {
        let (mut ends, mut answer_rows, mut end) = (Vec::new(), Vec::new(), 0usize);
        for part in &parts {
            let start = end;
            end = end.checked_add(part.len())?;
            u32::try_from(end).ok()?;
            ends.push(end);
            answer_rows.extend(part.answer_rows().iter().map(|row| row + start as u32));
        }
        Some(Self {
            parts,
            ends,
            answer_rows,
        })
    }
}

impl ExampleSource for JoinedCorpus {
    fn len(&self) -> usize {
        self.ends.last().copied().unwrap_or(0)
    }

    fn get(&self, index: usize) -> Result<Example, SourceError> {
        let part = self.ends.partition_point(|end| *end <= index);
        let start = match part {
            0 => 0,
            part => self.ends[part - 1],
        };
        match self.parts.get(part) {
            Some(corpus) => corpus.get(index - start),
            None => Err(format!("row {index} of {} joined rows", self.len()).into()),
        }
    }

    fn answer_rows(&self) -> &[u32] {
        &self.answer_rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows that can only say where they stand.
    struct Rows(&'static str, usize, Vec<u32>);

    impl ExampleSource for Rows {
        fn len(&self) -> usize {
            self.1
        }

        fn get(&self, index: usize) -> Result<Example, SourceError> {
            Err(format!("{}:{index}", self.0).into())
        }

        fn answer_rows(&self) -> &[u32] {
            &self.2
        }
    }

    #[test]
    fn rows_follow_one_another() {
        let joined = JoinedCorpus::new(vec![
            Arc::new(Rows("a", 2, vec![1])),
            Arc::new(Rows("none", 0, vec![])),
            Arc::new(Rows("b", 3, vec![0, 2])),
        ])
        .unwrap();
        assert_eq!((joined.len(), joined.answer_rows()), (5, &[1, 2, 4][..]));
        let rows: Vec<String> = (0..6)
            .map(|row| joined.get(row).unwrap_err().to_string())
            .collect();
        let expected = ["a:0", "a:1", "b:0", "b:1", "b:2", "row 5 of 5 joined rows"];
        assert_eq!(rows, expected);
        let half = || Arc::new(Rows("c", 1 << 31, vec![])) as Arc<dyn ExampleSource>;
        assert!(JoinedCorpus::new(vec![half(), half()]).is_none());
    }
}
