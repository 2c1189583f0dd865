//! Regions of an image as arrays, whichever file they come from.

use super::npz::DAMAGED;
use super::source::{SourceBoxes, split_boxes};
use crate::findings::Defect;
use crate::official::BOX_VALUES;
use crate::official::check_finite;

/// Numbers in rows; a single axis is a column, none is one number.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Matrix {
    /// Number of rows.
    pub rows: usize,
    /// Values per row.
    pub cols: usize,
    /// Row by row.
    pub values: Vec<f32>,
}

impl Matrix {
    /// An array of at most two axes, or of a batch of one.
    pub(super) fn new(shape: &[usize], values: Vec<f32>) -> Result<Self, Defect> {
        let (rows, cols) = match *shape {
            [] => (1, 1),
            [rows] => (rows, 1),
            [rows, cols] | [1, rows, cols] => (rows, cols),
            _ => {
                let found = format!("{} axes, {shape:?}", shape.len());
                return Err(Defect::new(found, "give arrays of regions by values"));
            }
        };
        Ok(Self { rows, cols, values })
    }

    /// Rows and columns exchanged.
    pub(super) fn transposed(&self) -> Self {
        let mut values = Vec::with_capacity(self.values.len());
        for col in 0..self.cols {
            values.extend((0..self.rows).map(|row| self.values[row * self.cols + col]));
        }
        Self {
            rows: self.cols,
            cols: self.rows,
            values,
        }
    }

    /// The first `rows` rows, of which there must be as many.
    fn truncated(mut self, rows: usize) -> Self {
        self.values.truncate(rows * self.cols);
        self.rows = rows;
        self
    }

    /// The boxes of as many regions: four values in pixels, or six as shares of the image.
    ///
    /// # Errors
    /// Another number of rows, or of values.
    pub(super) fn boxes_of(self, regions: usize) -> Result<SourceBoxes, Defect> {
        if self.rows != regions {
            let found = format!("{} boxes for features of {regions} regions", self.rows);
            return Err(Defect::new(
                found,
                "the file is inconsistent: make it again",
            ));
        }
        let numbers = self.values;
        match self.cols {
            _ if regions == 0 => Ok(SourceBoxes::Missing(0)),
            4 => Ok(SourceBoxes::Pixels(numbers.as_chunks().0.to_vec())),
            6 => Ok(SourceBoxes::Relative(numbers.as_chunks().0.to_vec())),
            cols => {
                let found = format!("boxes of {cols} values");
                let fix = "give x1, y1, x2, y2 in pixels, or x1/W, y1/H, x2/W, y2/H, w/W, h/H";
                Err(Defect::new(found, fix))
            }
        }
    }

    /// The only value.
    pub(super) fn number(&self) -> Result<f64, Defect> {
        match self.values[..] {
            [value] => Ok(f64::from(value)),
            _ => {
                let found = format!("{} values where one number is needed", self.values.len());
                Err(Defect::new(found, "make it a single number"))
            }
        }
    }
}

/// Features and boxes of one image, as its file has them.
#[derive(Clone, Debug, Default)]
pub(super) struct Arrays {
    /// `[regions, feature_dim]`, or its transpose; `[regions, feature_dim + 6]` has its boxes.
    pub(super) features: Matrix,
    /// `[regions, 4]` in pixels, or `[regions, 6]` as shares of the image.
    pub(super) boxes: Option<Matrix>,
    /// Regions there are; arrays of one length for all images may have more rows.
    pub(super) count: Option<usize>,
}

impl Arrays {
    /// Those of an image whose file may say of how many regions they are.
    ///
    /// # Errors
    /// If that is no number of regions.
    pub(super) fn counted(
        features: Matrix,
        boxes: Option<Matrix>,
        count: Option<Matrix>,
    ) -> Result<Self, Defect> {
        let count = match count.map(|count| count.number()).transpose()? {
            None => None,
            Some(n) if n >= 0.0 && n.fract() == 0.0 && n < 4e9 => Some(n as usize),
            Some(n) => return Err(Defect::new(format!("{n} regions"), DAMAGED)),
        };
        Ok(Self {
            features,
            boxes,
            count,
        })
    }

    /// Features, row-major `[regions, feature_dim]`, and boxes.
    ///
    /// # Errors
    /// Shapes that do not fit each other or the feature dimension; a value that is not finite.
    pub(super) fn regions(self, feature_dim: usize) -> Result<(Vec<f32>, SourceBoxes), Defect> {
        let Self {
            features,
            boxes,
            count,
        } = self;
        let with_boxes = feature_dim.saturating_add(BOX_VALUES);
        let fits = |side: usize| side == feature_dim || side == with_boxes;
        let expected = count.or(boxes.as_ref().map(|boxes| boxes.rows));
        let mut features = match (fits(features.cols), fits(features.rows)) {
            (true, _) => features,
            (false, true) if expected.is_none_or(|n| n <= features.cols) => features.transposed(),
            _ if features.values.is_empty() => Matrix::default(),
            _ => {
                let found = format!(
                    "features of shape [{}, {}], where a region has {feature_dim} values, or \
                     {with_boxes} with its box",
                    features.rows, features.cols,
                );
                return Err(Defect::new(found, "give their dimension as `feature_dim`"));
            }
        };
        if let Some(count) = count {
            if count > features.rows {
                let found = format!("features of {} regions, of {count}", features.rows);
                return Err(Defect::new(
                    found,
                    "the file is inconsistent: make it again",
                ));
            }
            features = features.truncated(count);
        }
        let (regions, dim) = (features.rows, features.cols);
        let values = features.values;
        check_finite(&values, dim.max(1))?;
        if dim == with_boxes {
            let (features, boxes) = split_boxes(&values, feature_dim);
            return Ok((features, SourceBoxes::Relative(boxes)));
        }
        let Some(boxes) = boxes else {
            return Ok((values, SourceBoxes::Missing(regions)));
        };
        // Padded arrays have as many boxes too many as features.
        let padded = count.is_some() && boxes.rows > regions;
        if boxes.rows != regions && !padded {
            let found = format!("{} boxes for features of {regions} regions", boxes.rows);
            return Err(Defect::new(
                found,
                "the file is inconsistent: make it again",
            ));
        }
        let boxes = boxes.truncated(regions);
        Ok((values, boxes.boxes_of(regions)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matrix(rows: usize, cols: usize) -> Matrix {
        Matrix {
            rows,
            cols,
            values: (0..rows * cols).map(|v| v as f32).collect(),
        }
    }

    fn arrays(features: Matrix, boxes: Option<Matrix>, count: Option<usize>) -> Arrays {
        Arrays {
            features,
            boxes,
            count,
        }
    }

    #[test]
    fn every_arrangement() {
        let plain = arrays(matrix(2, 3), Some(matrix(2, 4)), None)
            .regions(3)
            .unwrap();
        let pixels = vec![[0.0, 1.0, 2.0, 3.0], [4.0, 5.0, 6.0, 7.0]];
        let features = vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0];
        assert_eq!(plain, (features.clone(), SourceBoxes::Pixels(pixels)));
        let transposed = matrix(2, 3).transposed();
        let turned = arrays(transposed, Some(matrix(2, 4)), Some(2))
            .regions(3)
            .unwrap();
        assert_eq!(turned, plain);
        let padded = arrays(matrix(5, 3), Some(matrix(7, 4)), Some(2))
            .regions(3)
            .unwrap();
        assert_eq!(padded, plain);
        let relative = arrays(matrix(2, 3), Some(matrix(2, 6)), None)
            .regions(3)
            .unwrap();
        assert!(matches!(relative.1, SourceBoxes::Relative(boxes) if boxes[1][0] == 6.0));
        let whole = arrays(matrix(2, 9), None, None).regions(3).unwrap();
        assert_eq!(whole.0, [0.0, 1.0, 2.0, 9.0, 10.0, 11.0]);
        assert!(matches!(whole.1, SourceBoxes::Relative(boxes) if boxes[1][5] == 17.0));
        let alone = arrays(matrix(2, 3), None, None).regions(3).unwrap();
        assert_eq!(alone, (features, SourceBoxes::Missing(2)));
        let none = arrays(matrix(0, 3), Some(matrix(0, 4)), Some(0))
            .regions(3)
            .unwrap();
        assert!(none.0.is_empty() && none.1.is_empty());
    }

    #[test]
    fn shapes_that_do_not_fit() {
        for (features, boxes, count, wanted) in [
            (
                matrix(2, 5),
                None,
                None,
                "shape [2, 5], where a region has 3 values, or 9",
            ),
            (
                matrix(2, 3),
                Some(matrix(3, 4)),
                None,
                "3 boxes for features of 2 regions",
            ),
            (
                matrix(2, 3),
                Some(matrix(1, 4)),
                Some(2),
                "1 boxes for features of 2",
            ),
            (matrix(2, 3), Some(matrix(2, 5)), None, "boxes of 5 values"),
            (matrix(2, 3), None, Some(3), "features of 2 regions, of 3"),
        ] {
            let found = arrays(features, boxes, count).regions(3).unwrap_err().found;
            assert!(found.contains(wanted), "{found}");
        }
        let mut nan = matrix(2, 3);
        nan.values[4] = f32::NAN;
        let found = arrays(nan, None, None).regions(3).unwrap_err().found;
        assert_eq!(found, "region 1, value 1 is NaN");
        let mut large = matrix(2, 3);
        large.values[4] = f32::INFINITY;
        let found = arrays(large, None, None).regions(3).unwrap_err().found;
        assert_eq!(found, "region 1, value 1 is inf");
    }
}
