//! Training from official files without an import: regions are decoded as a batch copies them.

use std::path::Path;

use oscar_core::input::{RegionSource, SourceError};

use super::{BOX_VALUES, OfficialImages};
use crate::boxes::{CLIP, Fit, check_shares, fit, relative};
use crate::error::Result;
use crate::findings::Defect;
use crate::images::ImageSource;

impl RegionSource for OfficialImages {
    fn region_dim(&self) -> usize {
        self.options().feature_dim + BOX_VALUES
    }

    fn num_regions(&self, row: usize) -> Result<usize, SourceError> {
        let found = self.row(row)?;
        // A wrong count must be noticed before anyone allocates for it.
        self.layout(row, &found)?;
        Ok(found.num_boxes)
    }

    fn copy_regions(&self, row: usize, out: &mut [f32]) -> Result<(), SourceError> {
        let found = self.row(row)?;
        let layout = self.layout(row, &found)?;
        if layout.dim == self.region_dim() {
            self.decode(row, &found.blob, layout, out)?;
            let regions = out.chunks_exact(layout.dim);
            let boxes = regions.map(|region| &region[layout.dim - BOX_VALUES..]);
            return Ok(check_shares(boxes).map_err(|defect| self.defect(row, defect))?);
        }
        let regions = out.len() / self.region_dim();
        let mut features = vec![0.0; regions * layout.dim];
        self.decode(row, &found.blob, layout, &mut features)?;
        let regions = out.chunks_exact_mut(self.region_dim());
        for (out, features) in regions.zip(features.chunks_exact(layout.dim)) {
            out[..layout.dim].copy_from_slice(features);
        }
        Ok(self.append_label_boxes(row, found.num_boxes, out)?)
    }

    fn image_key(&self, row: usize) -> String {
        self.keys().key(row).to_string()
    }
}

impl ImageSource for OfficialImages {
    fn len(&self) -> usize {
        self.keys().len()
    }

    fn find(&self, key: &str) -> Option<usize> {
        self.keys().find(key)
    }

    fn tag_text(&self, row: usize) -> Result<String> {
        match self.label_row(row)? {
            Some((file, row)) => file.classes(row, self.options().tags),
            None => Ok(String::new()),
        }
    }

    fn path(&self) -> &Path {
        self.path()
    }
}

impl OfficialImages {
    /// Writes the boxes of an image's regions, from its labels, behind their features.
    fn append_label_boxes(&self, row: usize, regions: usize, out: &mut [f32]) -> Result<()> {
        let labels = self.labels(row)?;
        let boxes = self.label_boxes(row, labels.as_ref(), regions)?;
        let Some((width, height)) = self.size(row, labels.as_ref())? else {
            let found = "its boxes are in pixels, and its size is not known";
            return Err(self.defect(row, Defect::new(found, "give the table of image sizes")));
        };
        let region_dim = self.region_dim();
        for (region, out) in out.chunks_exact_mut(region_dim).enumerate() {
            let inside = match fit(boxes[region], width, height, CLIP) {
                Ok(Fit::Inside) => boxes[region],
                Ok(Fit::Clipped(inside)) => inside,
                Ok(Fit::Empty) => {
                    let found = format!("region {region}: its box is empty");
                    let fix = "import the file, which leaves such regions out";
                    return Err(self.defect(row, Defect::new(found, fix)));
                }
                Err(found) => {
                    let defect = Defect::new(found, "check that labels and sizes belong to it");
                    let defect = defect.within(format_args!("region {region}"));
                    return Err(self.defect(row, defect));
                }
            };
            out[region_dim - BOX_VALUES..].copy_from_slice(&relative(inside, width, height));
        }
        Ok(())
    }
}
